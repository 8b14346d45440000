"""fake-gcs-server: a store of objects that speaks as Google's does, bound to localhost.

One Go program, which keeps what it holds in its memory. It asks nobody who they are.
"""

from pathlib import Path

from pyarrow import fs

from cluster import build, processes
from cluster.home import HOST

PACKAGE, RELEASE = "github.com/fsouza/fake-gcs-server", "v1.56.1"
SERVER = "fake-gcs"
PORT = 4443
START_SECONDS = 60.0
BUCKET = "kmeans"


def up() -> None:
    """Starts the server, with an empty bucket."""
    processes.require_port(SERVER, PORT)
    processes.start(SERVER, command())
    processes.wait_healthy(
        [SERVER],
        lambda: processes.listening(PORT) and bucket_is_there(),
        f"{SERVER} on port {PORT}",
        START_SECONDS,
    )


def down() -> None:
    """Ends it, and with it what it holds; harmless when there is none."""
    processes.stop(SERVER)


def program() -> Path:
    """The server, built if need be."""
    return build.go_program(PACKAGE, RELEASE)


def command() -> list[str]:
    """The server's program and arguments."""
    settings = {
        "scheme": "http",
        "host": "127.0.0.1",
        "port": PORT,
        "public-host": f"{HOST}:{PORT}",
        "backend": "memory",
        "log-level": "warn",
    }
    return [str(program()), *(f"-{key}={value}" for key, value in settings.items())]


def bucket_is_there() -> bool:
    """Makes the bucket; false as long as the server cannot."""
    store = fs.GcsFileSystem(
        anonymous=True, scheme="http", endpoint_override=f"{HOST}:{PORT}", project_id="any"
    )
    try:
        store.create_dir(BUCKET)
    except OSError:
        return False
    return True


def address(place: str = BUCKET) -> str:
    """The URI of a bucket, or of what is in it."""
    return f"gs://anonymous@{place}?scheme=http&endpoint_override={HOST}:{PORT}"


def status() -> str:
    """One line on the server's health."""
    up = processes.running(SERVER) and processes.listening(PORT)
    return f"gs: up at {address()}" if up else "gs: down"
