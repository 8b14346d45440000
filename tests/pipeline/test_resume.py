"""What stops a job, and what the next run makes of what it left."""

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.driver import jobs
from pipeline.driver.attempt import Attempt
from pipeline.driver.fit import Fit
from pipeline.passes.archive import sealed
from pipeline.passes.checkpoint import WorkFolder, save_state
from pipeline.passes.parcels import send
from pipeline.runners.settings import Settings
from tests.pipeline.answer import Answer, assert_same_answer, contents, with_options
from tests.tables import write_shards
from tests.waiting import latest_iteration, wait_for

pytestmark = pytest.mark.xdist_group("resume")  # for the fixtures of this module

# So slow a descent that it is not over before it is killed.
SLOW = (
    *("--features=f0,f1", "--k=3", "--keys=id", "--optimizer=sgd", "--learning_rate=1e-5"),
    *("--tolerance=0", "--max_iterations=18", "--iterations_per_job=6"),
)


def work_folder(output: Path) -> Path:
    (folder,) = (output / "_work").iterdir()
    return folder


MODULE = (sys.executable, "-m", "pipeline")
SCRIPT = (str(Path(sys.executable).parent / "kmeans-tf"),)  # what schedulers start, and end


@pytest.mark.parametrize(
    ("command", "stop"),
    [(MODULE, signal.SIGKILL), (MODULE, signal.SIGINT), (SCRIPT, signal.SIGTERM)],
    ids=["SIGKILL", "SIGINT", "SIGTERM"],
)
def test_a_job_that_is_stopped_resumes_to_the_same_bits(
    run, fit, three_blobs, tmp_path, uninterrupted, command, stop
):
    output = tmp_path / "out"
    places = (f"--input={three_blobs.folder}", f"--output={output}")
    process = subprocess.Popen([*command, "fit", *places, *SLOW], stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: latest_iteration(output) >= 3 or process.poll() is not None)
        process.send_signal(stop)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    if stop == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, stderr
        assert "interrupted; run the same command again to resume" in stderr
    reached = latest_iteration(output)
    assert 3 <= reached < 18
    assert not (output / "_SUCCESS").exists()
    ran = run("fit", *places, *SLOW, "--resume=require")
    assert ran.code == 0, ran.stderr
    assert f"resuming after iteration {reached}\n" in ran.stderr
    assert "scan" not in ran.stderr, "what was scanned is not scanned again"
    answer = Answer(output)
    assert_same_answer(answer, uninterrupted)
    assert len(answer.history) == 18
    same = ("labels/part-00000-of-00001.parquet", "prototypes.parquet", "history.parquet")
    for name in same:
        assert contents(output)[name] == contents(uninterrupted.folder)[name]
    assert not (output / "_work").exists()


def test_an_interrupt_in_the_middle_of_a_worker_is_one(run, three_blobs, tmp_path, monkeypatch):
    """On the direct runner, whose workers are the driver: Beam makes another error of it."""

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.passes.train.save_state", interrupt)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}", *SLOW)
    assert ran.code == 130, ran.stderr
    assert "interrupted; run the same command again to resume" in ran.stderr


@pytest.mark.parametrize("sent", [1, 5, 8], ids="{} slices sent".format)
def test_a_job_that_is_stopped_between_slices_resumes_to_the_same_bits(
    run, three_blobs, tmp_path, monkeypatch, uninterrupted, sent
):
    """What an iteration has left in the work folder is added again by nobody."""
    monkeypatch.setattr(Settings, "one_process", False)  # which would leave nothing there
    monkeypatch.setattr("pipeline.driver.fit.slices_for", lambda *_: 3)
    monkeypatch.setattr("pipeline.passes.parcels.INLINE_BYTES", 0)
    output = tmp_path / "out"
    places = (f"--input={three_blobs.folder}", f"--output={output}")
    with monkeypatch.context() as patch:
        calls = []

        def send_some(*args):
            calls.append(args)
            if len(calls) > sent:
                raise KeyboardInterrupt
            return send(*args)

        patch.setattr("pipeline.passes.train.send", send_some)
        assert run("fit", *places, *SLOW).code == 130
    assert list(work_folder(output).glob("sums/*/*")), "the premise: slices are left"
    ran = run("fit", *places, *SLOW, "--resume=require")
    assert ran.code == 0, ran.stderr
    assert_same_answer(Answer(output), uninterrupted)


@pytest.fixture(scope="module")
def uninterrupted(fit, three_blobs, tmp_path_factory):
    return fit(three_blobs.folder, tmp_path_factory.mktemp("whole") / "out", *SLOW)


FEW = ("--features=f0,f1", "--k=3", "--max_iterations=2", "--iterations_per_job=2")


@pytest.fixture(scope="module")
def failed(run, three_blobs, tmp_path_factory):
    """An output whose job failed after its training."""
    output = tmp_path_factory.mktemp("failed") / "out"

    def fail(*args):
        raise OSError(5, "Input/output error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attempt, "label", fail)
        ran = run("fit", f"--input={three_blobs.folder}", f"--output={output}", *FEW)
    assert ran.code == 5
    assert ran.stderr.endswith("Input/output error; run the same command again to resume\n")
    return output


@pytest.fixture
def stopped(failed, three_blobs, tmp_path):
    """A copy of that output, and the command line that goes on with it."""
    output = shutil.copytree(failed, tmp_path / "out")
    return output, [f"--input={three_blobs.folder}", f"--output={output}", *FEW]


def test_auto_takes_up_the_checkpoint_of_the_same_configuration(run, stopped):
    output, args = stopped
    ran = run("fit", *with_options(args, "--cache_mb=7", "--iterations_per_job=1"))
    assert ran.code == 0
    assert "resuming after iteration 2" in ran.stderr
    assert len(Answer(output).history) == 2


def test_auto_starts_anew_where_the_configuration_is_another(run, stopped):
    output, args = stopped
    ran = run("fit", *args, "--seed=1")
    assert ran.code == 0
    assert "resuming" not in ran.stderr
    assert not (output / "_work").exists()


def test_never_starts_anew(run, stopped):
    _, args = stopped
    ran = run("fit", *args, "--resume=never")
    assert ran.code == 0
    assert "resuming" not in ran.stderr
    assert "scan" in ran.stderr


def test_require_refuses_a_checkpoint_of_another_configuration(run, stopped):
    output, args = stopped
    before = contents(output)
    ran = run("fit", *args, "--resume=require", "--seed=1", "--tolerance=0.5")
    assert ran.code == 2
    assert "--resume require" in ran.stderr
    assert "of another configuration: " in ran.stderr
    assert "tolerance was 0.0001, now 0.5" in ran.stderr
    assert "seed was 0, now 1" in ran.stderr
    assert contents(output) == before


def test_what_a_driver_that_was_killed_before_has_left_is_no_checkpoint(run, stopped):
    output, args = stopped
    (work,) = (output / "_work").iterdir()
    shutil.rmtree(work)
    (output / "_work" / "check-0" / "workers").mkdir(parents=True)
    ran = run("fit", *args, "--resume=require")
    assert ran.code == 2
    assert f"--resume require: there is no checkpoint in {output}" in ran.stderr


def test_input_that_changed_since_is_another_configuration(run, fit, tmp_path, monkeypatch):
    write_shards(tmp_path / "in", np.arange(40.0).reshape(20, 2))
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    args = (*places, "--k=2", "--max_iterations=1")

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "label", interrupt)
        assert run("fit", *args).code == 130
    write_shards(tmp_path / "in", np.arange(80.0).reshape(40, 2))
    ran = run("fit", *args, "--resume=require")
    assert ran.code == 2
    assert "files was" in ran.stderr
    assert run("fit", *args).code == 0
    assert len(Answer(tmp_path / "out").table) == 40


def test_a_model_that_changed_since_is_another_configuration(run, fit, three_blobs, tmp_path):
    """A label run that failed before publishing does not publish labels of another model."""
    args = ("--features=f0,f1", "--max_iterations=0")
    model = fit(three_blobs.folder, tmp_path / "model", *args, "--k=3").folder
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "write_results", lambda *args, **named: 1 / 0)
        assert run("label", *places, f"--model={model}").code == 1
    fit(three_blobs.folder, model, *args, "--k=5", "--overwrite")
    assert run("label", *places, f"--model={model}").code == 0
    assert set(Answer(tmp_path / "out").labels) == {0, 1, 2, 3, 4}


def test_points_that_a_killed_attempt_staged_take_no_room(run, three_blobs, tmp_path, monkeypatch):
    output = tmp_path / "out"
    args = ("fit", f"--input={three_blobs.folder}", f"--output={output}", *SLOW, "--stage=always")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_beyond", killed)
        assert run(*args).code == 130
    staged = work_folder(output) / "staged"
    assert [*staged.iterdir()], "the premise"
    (staged / "half of it").touch()
    before = []

    def look(fit, *args, run_round=Fit._round):
        before.append(staged.exists())
        return run_round(fit, *args)

    monkeypatch.setattr(Fit, "_round", look)
    ran = run(*args)
    assert ran.code == 0, ran.stderr
    assert not before[0]


# Checkpoints that cannot be read


def test_a_checkpoint_without_a_field_ends_the_job(run, stopped):
    """In what other ways one may be spoiled is in test_checkpoint.py."""
    output, args = stopped
    _, checkpoint = sorted((work_folder(output) / "state").iterdir())
    with np.load(checkpoint) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    del header["value"]["TrainingState"]["squares"]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    checkpoint.write_bytes(sealed(stream.getvalue(), str(checkpoint)))
    assert run("fit", *args) == (
        5,
        f"kmeans-tf: error: checkpoint {checkpoint} cannot be read (its TrainingState has no "
        "field 'squares'): start again with --resume never\n",
    )


STATES = ("state/000001", "state/000002")


@pytest.mark.parametrize(
    ("damaged", "resumes"),
    [
        (["state/000002"], "resuming after iteration 1\n"),
        (STATES, "seed: "),
        (["summary", *STATES], "scan: "),
        (["summary"], "resuming after iteration 2\n"),
    ],
    ids=["the newest", "all", "the scan's too", "the scan's alone"],
)
def test_what_the_end_of_a_machine_has_spoiled_is_done_again_to_the_same_bits(
    run, stopped, done, damaged, resumes
):
    """Names were on the disk, and what belongs to them was not."""
    output, args = stopped
    paths = [work_folder(output) / name for name in damaged]
    for path in paths:
        path.write_bytes(b"")
    ran = run("fit", *args)
    assert ran.code == 0, ran.stderr
    told = [line for line in ran.stderr.splitlines() if line.startswith("warning: ")]
    assert sorted(told) == sorted(
        f"warning: checkpoint {path} is damaged, or something else: what led to it is done again"
        for path in paths
    )
    assert resumes in ran.stderr
    assert_same_answer(Answer(output), done)


@pytest.fixture(scope="module")
def done(fit, three_blobs, tmp_path_factory):
    return fit(three_blobs.folder, tmp_path_factory.mktemp("done") / "out", *FEW)


# Workers that write elsewhere


def test_checkpoints_that_do_not_reach_the_driver_end_the_job(
    run, three_blobs, tmp_path, monkeypatch
):
    """As on a cluster whose workers have a folder of the same name, each on a disk of its own."""
    rounds = []

    def save_elsewhere(work, state):
        rounds.append(state.iteration)
        assert len(rounds) < 3, "the same round again"
        save_state(WorkFolder(str(tmp_path / "elsewhere")), state)

    monkeypatch.setattr("pipeline.passes.train.save_state", save_elsewhere)
    output = tmp_path / "out"
    options = ("--features=f0,f1", "--k=3", "--iterations_per_job=1")
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={output}", *options)
    assert ran.code == 5, ran.stderr
    assert rounds == [1]
    assert ran.stderr.splitlines()[-1] == (
        "kmeans-tf: error: the checkpoints of the workers did not reach "
        f"{work_folder(output)} here: give an --output that every worker and the driver reach"
    )


# Files that change under the job


@pytest.mark.parametrize("when", ["between scan and training", "between training and labels"])
@pytest.mark.parametrize("change", ["was rewritten", "is gone"])
def test_a_file_that_changes_under_the_job_ends_it(run, tmp_path, monkeypatch, when, change):
    points = np.arange(80.0).reshape(40, 2)
    paths = write_shards(tmp_path / "in", points, shards=2)

    def spoil():
        if change == "is gone":
            paths[1].unlink()
        else:
            paths[1].write_bytes(paths[1].read_bytes())

    where, name = (Fit, "start") if "scan" in when else (Attempt, "label")
    original = getattr(where, name)

    def spoil_first(*args):
        spoil()
        return original(*args)

    monkeypatch.setattr(where, name, spoil_first)
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, "--k=2", "--max_iterations=1")
    assert ran.code == 3
    message = ran.stderr.splitlines()[-1]
    assert message == (
        f"kmeans-tf: error: {paths[1]} {change} while the job ran: run the job again"
    )
    assert not (tmp_path / "out").exists()


# A full disk


@pytest.fixture
def long_keys(tmp_path):
    """Few rows to cluster with keys that fill a disk."""
    rng = np.random.default_rng(0)
    keys = pa.array([rng.bytes(1000) for _ in range(4000)])
    table = pa.table({"key": keys, "x": np.arange(4000.0) % 50})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "a.parquet", row_group_size=1000)
    return [f"--input={tmp_path / 'in'}", "--keys=key", "--k=3", "--max_iterations=3"]


def test_a_file_that_may_not_grow_ends_the_job_and_it_resumes(run, tmp_path, long_keys):
    args = ("fit", f"--output={tmp_path / 'out'}", *long_keys)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        ran = run(*args)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_stopped_and_resumed(run, ran, args, tmp_path / "out", "File too large")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB and a function that makes it larger."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder, lambda: mount("-o", "remount,size=64m", str(folder)).check_returncode()
    # Lazily: a process that was started meanwhile may still have a look at it.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(["mount", *args], capture_output=True, text=True)


def test_a_full_disk_ends_the_job_and_it_resumes(run, small_disk, long_keys):
    folder, enlarge = small_disk
    args = ("fit", f"--output={folder / 'out'}", *long_keys)
    ran = run(*args)
    enlarge()
    assert_stopped_and_resumed(run, ran, args, folder / "out", "No space left on device")


def assert_stopped_and_resumed(run, ran, args, output, reason):
    assert ran.code == 5, ran.stderr
    message = ran.stderr.splitlines()[-1]
    assert message.startswith("kmeans-tf: error: reading or writing failed: ")
    assert f"{reason}: '{output}/_work/" in message
    assert message.endswith("; run the same command again to resume")
    assert not (output / "_SUCCESS").exists()
    assert not list((work_folder(output) / "labels").iterdir()), "half a file"
    again = run(*args)
    assert again.code == 0, again.stderr
    assert "resuming after iteration" in again.stderr
    assert len(Answer(output).table) == 4000
