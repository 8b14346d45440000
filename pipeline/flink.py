"""Flink's REST interface: what a cluster offers, and the end of jobs that nobody waits for."""

import contextlib
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from apache_beam.options.pipeline_options import FlinkRunnerOptions

from pipeline.errors import RunError

_CONNECT_SECONDS = 5
_CANCEL_SECONDS = 60.0
_POLL_SECONDS = 0.2
_ENDED = {"FINISHED", "CANCELED", "FAILED", "SUSPENDED"}


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster by the address of its REST interface, HOST:PORT or a URL."""

    master: str

    def settings(self, flags: dict[str, str]) -> dict[str, str]:
        """Beam's options that follow from what the cluster is.

        Args:
            flags: what else the job is started with.

        Raises:
            RunError: the cluster does not answer, has no slots, or is of another version.
        """
        overview = self._ask("GET", "overview")
        slots = overview.get("slots-total", 0)
        if not slots:
            raise RunError(f"the Flink cluster at {self.master} has no slot: start a TaskManager")
        settings = {"parallelism": str(slots)}
        if not {"job_endpoint", "flink_job_server_jar"} & set(flags):
            settings["flink_version"] = self._version(overview["flink-version"], flags)
        return settings

    def cancel(self, job_name: str) -> None:
        """Cancels every job of a name and waits for its end.

        Raises:
            RunError: the cluster does not answer, or a job does not end.
        """
        deadline = time.monotonic() + _CANCEL_SECONDS
        asked: set[str] = set()
        while running := self._running(job_name):
            for job in running - asked:
                with contextlib.suppress(RunError):  # it has just ended by itself
                    self._ask("PATCH", f"jobs/{job}?mode=cancel")
            asked |= running
            if time.monotonic() > deadline:
                raise RunError(f"{self.master}: jobs called {job_name} cannot be cancelled")
            time.sleep(_POLL_SECONDS)

    def _version(self, found: str, flags: dict[str, str]) -> str:
        """The cluster's version as Beam names it, for the job server that Beam brings."""
        version = ".".join(found.split(".")[:2])
        runs = f"the cluster at {self.master} runs Flink {found}"
        if version not in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS:
            known = ", ".join(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)
            raise RunError(f"{runs}, and this Beam knows {known}: give --job_endpoint")
        if flags.get("flink_version", version) != version:
            raise RunError(
                f"--flink_version {flags['flink_version']}: {runs}: give --flink_version={version}"
            )
        return version

    def _running(self, job_name: str) -> set[str]:
        jobs = self._ask("GET", "jobs/overview")["jobs"]
        return {j["jid"] for j in jobs if j["name"] == job_name and j["state"] not in _ENDED}

    def _ask(self, method: str, path: str) -> dict:
        base = self.master if "://" in self.master else f"http://{self.master}"
        request = urllib.request.Request(f"{base.rstrip('/')}/{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=_CONNECT_SECONDS) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise RunError(
                f"--flink_master: {request.full_url} does not answer: {error}"
            ) from error
