"""The command where it may be started: beside a user's modules, without streams, homes, folders."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmeans_tf.metrics import get_metric
from pipeline.driver.metric_identity import metric_identity
from pipeline.environment import reach_working_folder
from pipeline.output.run_record import RUN, RunRecord

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(ROOT / "kmeans_tf_job.py")]
COSTS = """
import tensorflow as tf
import {helper}

def near(points, prototypes):
    return {helper}.FACTOR * tf.reduce_sum(tf.abs(points - prototypes), 1)

near.gradient_bound = 2.0
"""
POOL = "from kmeans_tf_job import worker_pool"
DESCENT = ["--optimizer=adam", "--learning_rate=0.1", "--max_iterations=2"]


@pytest.fixture
def place(tmp_path):
    """A folder to start in, with a user's `pipeline.py`, and another with the input."""
    for name in ("cwd", "home", "temp"):
        (tmp_path / name).mkdir()
    (tmp_path / "cwd" / "pipeline.py").write_text("raise RuntimeError('this is mine')\n")
    pq.write_table(pa.table({"x": [0.0, 1.0, 9.0, 10.0] * 5}), tmp_path / "in.parquet")
    return tmp_path


def started(place, *args, k=2, words=None, **variables):
    """A fit in a process of its own, with a home and a temporary folder of its own."""
    asked = [*COMMAND, "fit", f"--input={place / 'in.parquet'}", f"--output={place / 'out'}"]
    environment = os.environ | {"HOME": str(place / "home"), "TMPDIR": str(place / "temp")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"} | variables
    # What is installed comes last on Python's path.
    path = (variables.get("PYTHONPATH"), str(ROOT))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    line = [*asked, f"--k={k}", *args]
    shell = ["sh", "-c", f"{shlex.join(line)} {words}"] if words else line
    return subprocess.run(
        shell, cwd=place / "cwd", env=environment, capture_output=True, text=True, timeout=240
    )


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("workers", ["in the driver", "in processes"])
def test_a_users_pipeline_is_not_taken_for_the_jobs(place, workers):
    more = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    done = started(
        place,
        "--max_iterations=2",
        *(more if workers == "in processes" else []),
        PYTHONPATH=str(place / "cwd"),
    )
    assert done.returncode == 0, done.stderr
    assert (place / "out" / "_SUCCESS").exists()
    assert files_below(place / "home") == files_below(place / "temp") == []
    assert files_below(place / "cwd") == ["pipeline.py"]


def test_a_pool_and_its_processes_are_the_jobs(place):
    """It says that it listens when its processes have loaded what they need."""
    path = f"{place / 'cwd'}{os.pathsep}{ROOT}"
    with subprocess.Popen(
        [sys.executable, "-c", f"{POOL}; worker_pool()", "--service_port=0"],
        cwd=place / "cwd",
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    ) as pool:
        assert pool.stderr is not None
        said = next(line for line in pool.stderr if "worker pool" in line or "mine" in line)
        pool.terminate()
    assert said.startswith("worker pool on port")
    assert pool.returncode == 0


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(place, closed):
    done = started(place, "--max_iterations=1", words=closed)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "what was for standard error"
    assert pq.read_table(place / "out" / "labels").num_rows == 20


def test_the_kernels_of_tensorflow_change_nothing(place):
    """Of so many rows, features and prototypes that they are compared by scores."""
    rows = np.random.default_rng(0).normal(size=(2500, 16)).astype(np.float32)
    pq.write_table(pa.table({f"x{j}": rows[:, j] for j in range(16)}), place / "in.parquet")
    digests = []
    for one_dnn in "01":
        options = ("--init=random", "--max_iterations=3", "--overwrite")
        done = started(place, *options, k=200, TF_ENABLE_ONEDNN_OPTS=one_dnn)
        assert done.returncode == 0, done.stderr
        digests.append(RunRecord.parse((place / "out" / RUN).read_bytes()).digests)
    assert digests[0] == digests[1]


def test_a_metric_by_its_file_or_in_the_working_folder(place):
    (place / "cwd" / "costs.py").write_text(COSTS.format(helper="factor_beside"))
    (place / "cwd" / "factor_beside.py").write_text("FACTOR = 1.5\n")
    (place / "elsewhere").mkdir()
    done = started(place, "--metric=costs:near", *DESCENT)
    assert done.returncode == 0, done.stderr
    done = started(place, "--metric=./costs.py:near", "--overwrite", *DESCENT)
    assert done.returncode == 0, done.stderr


def test_a_file_of_a_name_that_another_module_has(tmp_path):
    (tmp_path / "json.py").write_text(COSTS.format(helper="factor_of_json"))
    (tmp_path / "factor_of_json.py").write_text("FACTOR = 1.5\n")
    metric = get_metric(f"{tmp_path / 'json.py'}:near")
    assert metric.gradient_bound == 2.0
    assert metric.cost(np.array([[1.0, 2.0]]), np.zeros((1, 2))).numpy().tolist() == [4.5]
    assert len(metric_identity(metric)) == 64
    import json

    assert json.loads("1") == 1


def test_a_file_that_is_not_there(run, place):
    ran = run(
        "fit",
        f"--input={place / 'in.parquet'}",
        f"--output={place / 'out'}",
        f"--metric={place / 'none.py'}:near",
        *DESCENT,
    )
    assert ran.code == 2
    assert f"{place / 'none.py'}:near' cannot be imported" in ran.stderr


def test_the_working_folder_comes_last(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "/a")
    reach_working_folder()
    reach_working_folder()
    assert sys.path[-1] == str(tmp_path)
    assert os.environ["PYTHONPATH"] == f"/a{os.pathsep}{tmp_path}"


def test_last_words_of_what_aborts_while_it_loads(place):
    stub = place / "stub" / "tensorflow"
    stub.mkdir(parents=True)
    said = "F cpu_feature_guard: no AVX here"
    (stub / "__init__.py").write_text(f"import os\nos.write(2, {said.encode()!r})\nos.abort()\n")
    done = started(place, PYTHONPATH=str(place / "stub"))
    assert done.returncode == -6
    assert said in done.stderr
