"""Flink's REST interface: what a cluster offers, and the end of jobs that nobody waits for."""

import contextlib
import http.client
import json
import urllib.request
from dataclasses import dataclass

from apache_beam.options.pipeline_options import FlinkRunnerOptions

from pipeline.errors import RunError, SetupError
from pipeline.runners.cancel import cancel_all

CONNECT_SECONDS = 5
_ENDED = {"FINISHED", "CANCELED", "FAILED", "SUSPENDED"}


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster by the address of its REST interface, HOST:PORT or a URL."""

    master: str

    def settings(self, flags: dict[str, str]) -> tuple[dict[str, str], int]:
        """What follows from what the cluster is.

        Args:
            flags: what else the job is started with.

        Returns:
            Beam's options by name, and how many task slots a TaskManager has.

        Raises:
            RunError: the cluster does not answer, has no slots, or is of another version.
        """
        overview = self._overview()
        settings = {"parallelism": str(overview["slots-total"])}
        if not {"job_endpoint", "flink_job_server_jar"} & set(flags):
            settings["flink_version"] = self._version(overview["flink-version"], flags)
        return settings, -(-overview["slots-total"] // overview["taskmanagers"])

    def cancel(self, name_end: str) -> None:
        """Cancels every job whose name ends so, and waits for its end.

        Raises:
            RunError: the cluster does not answer, or a job does not end.
        """
        jobs = f"{self.master}: jobs called …{name_end}"
        cancel_all(lambda: self._running(name_end), self._cancel, jobs)

    def failures(self, name_end: str) -> str:
        """What went wrong in the newest job whose name ends so, stack traces and all.

        Raises:
            RunError: the cluster does not answer.
        """
        jobs = self._ask("GET", "jobs/overview")["jobs"]
        named = [job for job in jobs if job["name"].endswith(name_end)]
        if not named:
            return ""
        newest = max(named, key=lambda job: job["start-time"])["jid"]
        history = self._ask("GET", f"jobs/{newest}/exceptions").get("exceptionHistory", {})
        return "\n".join(entry["stacktrace"] for entry in history.get("entries", ()))

    def _version(self, running: str, flags: dict[str, str]) -> str:
        """The cluster's version as Beam names it, for the job server that Beam brings."""
        version = ".".join(running.split(".")[:2])
        runs = f"the cluster at {self.master} runs Flink {running}"
        if version not in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS:
            known = ", ".join(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)
            raise SetupError(f"{runs}, and this Beam knows {known}: give --job_endpoint")
        if flags.get("flink_version", version) != version:
            raise SetupError(
                f"--flink_version {flags['flink_version']}: {runs}: give --flink_version={version}"
            )
        return version

    def _cancel(self, job: str) -> None:
        with contextlib.suppress(RunError):  # it has just ended by itself
            self._ask("PATCH", f"jobs/{job}?mode=cancel")

    def _running(self, name_end: str) -> set[str]:
        jobs = self._ask("GET", "jobs/overview")["jobs"]
        named = (job for job in jobs if job["name"].endswith(name_end))
        return {job["jid"] for job in named if job["state"] not in _ENDED}

    def _overview(self) -> dict:
        overview = self._ask("GET", "overview")
        if not {"flink-version", "slots-total", "taskmanagers"} <= set(overview):
            raise SetupError(f"--flink_master {self.master} is not Flink's REST interface")
        if not overview["slots-total"]:
            raise SetupError(f"the Flink cluster at {self.master} has no slot: start a TaskManager")
        return overview

    def _ask(self, method: str, path: str) -> dict:
        base = self.master if "://" in self.master else f"http://{self.master}"
        request = urllib.request.Request(f"{base.rstrip('/')}/{path}", method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=CONNECT_SECONDS) as answer:
                content = json.load(answer)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise SetupError(
                f"--flink_master: {request.full_url} does not answer: {error}"
            ) from error
        if not isinstance(content, dict):
            raise SetupError(f"--flink_master {self.master} is not Flink's REST interface")
        return content
