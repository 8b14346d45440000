"""Stores that refuse, and outputs that another job has: exit code 2, one line, within seconds."""

import subprocess
import threading
import time

import pytest

from cluster import fake_gcs, seaweed
from pipeline.data import leases
from pipeline.data.locks import HeldError
from tests.object_stores.conftest import ARGS, only_gs, only_s3

FIT = ("fit", *ARGS, "--max_iterations=1")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (seaweed.address("owner", "kmeans/in", "wrong"), "SIGNATURE_DOES_NOT_MATCH"),
        (seaweed.address("owner", "kmeans/in").replace("owner:", "me:"), "INVALID_ACCESS_KEY_ID"),
        (seaweed.address("owner", "nowhere/in"), "NO_SUCH_BUCKET"),
        (seaweed.address("owner", "kmeans/in") + "&color=red", "Unexpected query parameter"),
    ],
    ids=["secret", "key", "bucket", "option"],
)
@pytest.mark.parametrize("role", ["input", "output"])
@only_s3
def test_a_store_that_refuses(run, server, three_blobs, tmp_path, uri, words, role):
    paths = {"input": three_blobs.folder, "output": tmp_path / "out", role: uri}
    start = time.monotonic()
    ran = run(*FIT, *(f"--{name}={path}" for name, path in paths.items()))
    assert time.monotonic() - start < 30
    assert ran.code == 2, ran.stderr
    plain = uri.partition("@")[2].partition("?")[0]
    assert ran.stderr.startswith(f"kmeans-tf: error: s3://{plain.partition('/')[0]}")
    assert words in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert "secret" not in ran.stderr
    assert "Request ID" not in ran.stderr


@only_gs
def test_a_bucket_of_googles_that_is_not_there(run, server, three_blobs, tmp_path):
    places = {"input": three_blobs.folder, "output": tmp_path / "out"}
    for role in places:
        paths = places | {role: fake_gcs.address("nowhere/at-all")}
        ran = run(*FIT, *(f"--{name}={path}" for name, path in paths.items()))
        assert ran.code == 2, ran.stderr
        assert ran.stderr == (
            "kmeans-tf: error: gs://nowhere/at-all cannot be reached: NOT_FOUND: Permanent error, "
            "with a last message of Not Found: check the address, the network and the right to it\n"
        )


def test_a_store_that_is_not_there(run, three_blobs, tmp_path):
    uri = seaweed.address("owner", "kmeans/in").replace(f":{seaweed.S3_PORT}", ":1")
    ran = run(*FIT, f"--input={three_blobs.folder}", f"--output={uri}")
    assert ran.code == 5, ran.stderr
    assert ran.stderr.startswith("kmeans-tf: error: s3://kmeans/in cannot be reached: NETWORK_CONN")
    assert "Could not connect to server: check the address, the network" in ran.stderr
    assert ran.stderr.count("\n") == 1


@only_s3
def test_a_bucket_that_may_be_read_and_not_written(run, fit, rows, local, three_blobs, tmp_path):
    mine = seaweed.address("reader", rows.name)
    ran = run(*FIT, f"--input={three_blobs.folder}", f"--output={mine.replace('?', '-2?')}")
    assert ran.code == 2, ran.stderr
    assert ran.stderr == (
        f"kmeans-tf: error: --output {rows.path}-2 cannot be written: ACCESS_DENIED during "
        "PutObject operation: Access Denied\n"
    )
    answer = fit(mine, tmp_path / "out", *ARGS, "--max_iterations=6")
    assert answer.table.equals(local.table)


def test_one_job_at_a_time(run, rows, place):
    output = place.below("out")
    command = (*FIT, f"--input={rows.uri}", f"--output={output.uri}")
    with output.store.held(f"{output.path}/_work/held", "night, pid 7, since yesterday") as is_held:
        ran = run(*command)
        assert is_held()
        assert ran.code == 2, ran.stderr
        assert ran.stderr.startswith(
            f"kmeans-tf: error: --output {output.path}: another job is at work there "
            "(night, pid 7, since yesterday; if it was killed, its hold ends in "
        )
        assert len(output.names()) == 1
        output.store.delete(f"{output.path}/_work")
        assert not is_held()
    assert output.names() == []
    assert run(*command).code == 0


def test_of_many_jobs_at_once_no_two_have_an_output(place):
    start, inside, held, refused = threading.Barrier(6, timeout=60), [], [], []

    def work():
        for _ in range(5):
            start.wait()
            try:
                with place.store.held(f"{place.path}/_work/held", "me"):
                    inside.append(1)
                    held.append(len(inside))
                    inside.pop()
            except HeldError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {*held} <= {1}
    assert len(held) + len(refused) == 30
    assert refused, "the premise"
    assert place.names() == []


def test_what_the_dead_hold_is_free(run, rows, place, monkeypatch):
    output = place.below("out")
    gone = subprocess.Popen(["true"])
    gone.wait()
    held = f"{output.path}/_work/held"
    output.store.write(f"{held}-{leases._machine()}-{gone.pid}-1", b"of this machine")
    command = (*FIT, f"--input={rows.uri}", f"--output={output.uri}")
    ran = run(*command)
    assert ran.code == 0, ran.stderr
    output.store.write(f"{held}-elsewhere-{gone.pid}-1", b"of another machine")
    ran = run(*command, "--overwrite")
    assert ran.code == 2, ran.stderr
    assert "another job is at work there (of another machine; if it was killed" in ran.stderr
    monkeypatch.setattr(leases, "DEAD_SECONDS", 0.0)
    ran = run(*command, "--overwrite")
    assert ran.code == 0, ran.stderr
    assert not [name for name in output.names() if name.startswith("_work")]


def test_a_file_appears_whole_or_not_at_all(place):
    path = place.below("file").path
    place.store.write(path, b"before")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), place.store.create(path) as stream:
            stream.write(b"half")
            raise error
    assert place.names() == ["file"]
    assert place.store.read(path) == b"before"
    with place.store.create(path) as stream:
        stream.write(b"x" * (11 << 20))  # more than a part of an upload
    assert place.names() == ["file"]
    assert len(place.store.read(path)) == 11 << 20
