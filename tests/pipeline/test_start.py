"""What is loaded when: what can be told without Beam and TensorFlow is told before they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from kmeans_tf.notices import native_notices_hidden
from pipeline.console import say

pytestmark = pytest.mark.xdist_group("start")  # for the fixture of this module

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"tensorflow", "apache_beam", "matplotlib"}


def loaded(*command: object) -> tuple[int, str, set[str]]:
    """The exit code of a command, what it said, and every module that its process has imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline", *map(str, command)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    lines = done.stderr.splitlines()
    times = [line for line in lines if line.startswith("import time:")]
    said = "\n".join(line for line in lines if line not in times)
    return done.returncode, said, {line.rpartition("|")[2].strip() for line in times}


@pytest.fixture
def places(three_blobs, tmp_path):
    return f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}"


@pytest.fixture(scope="module")
def trained(fit, three_blobs, tmp_path_factory):
    """A finished output."""
    output = tmp_path_factory.mktemp("trained") / "out"
    return fit(three_blobs.folder, output, "--features=f0,f1", "--k=3", "--max_iterations=1")


@pytest.mark.parametrize("mistake", ["--k=0", "--metric=l3", "--tolerance=some"])
def test_a_mistake_in_the_options_is_told_before_any_library_is_loaded(places, mistake):
    code, said, modules = loaded("fit", *places, mistake)
    assert code == 2, said
    assert mistake.split("=")[0] in said
    assert "pipeline.command_line.options" in modules
    assert not modules & {*SLOW, "pyarrow", "numpy"}


@pytest.mark.parametrize(
    ("mistake", "code", "told"),
    [
        (("--input=nowhere",), 3, "no file matches"),
        (("--features=f0,other",), 3, "other"),
        (("--init=nowhere.npy",), 2, "--init nowhere.npy"),
    ],
    ids=["path", "column", "prototypes"],
)
def test_what_is_wrong_with_the_files_is_told_before_beam_and_tensorflow(
    places, mistake, code, told
):
    given = [word for word in places if word.split("=")[0] != mistake[0].split("=")[0]]
    ended, said, modules = loaded("fit", *given, *mistake)
    assert ended == code, said
    assert told in said
    assert "pyarrow" in modules
    assert not modules & SLOW


@pytest.mark.parametrize("missing", ["--model", "--input"])
def test_what_label_lacks_is_told_before_beam_and_tensorflow(trained, places, missing):
    given = {"--model": trained.folder, "--input": places[0].partition("=")[2], missing: "nowhere"}
    options = [f"{name}={value}" for name, value in given.items()]
    code, said, modules = loaded("label", *options, places[1])
    assert code in (2, 3)
    assert f"{missing} " in said
    assert not modules & SLOW


def test_a_runner_that_there_is_none_of_is_told_before_tensorflow(places):
    code, said, modules = loaded("fit", *places, "--runner=nope")
    assert code == 2
    assert "--runner nope" in said
    assert "tensorflow" not in modules


def test_a_report_needs_neither_beam_nor_tensorflow(trained):
    code, said, modules = loaded("report", trained.folder)
    assert code == 0, said
    assert "matplotlib" in modules, "and by nothing but this"
    assert not modules & {"tensorflow", "apache_beam"}


def in_a_process(code: str) -> str:
    """What a program prints, in a process that has loaded nothing."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_passes_are_imported_without_tensorflow():
    code = (
        "import sys, pipeline.transforms, pipeline.driver.jobs; print('tensorflow' in sys.modules)"
    )
    assert in_a_process(code) == "False"


def test_who_needs_tensorflow_waits_until_it_is_configured():
    code = """
from kmeans_tf.runtime import load_ahead, tf
load_ahead(3)
tf.zeros(1)
print(tf.config.threading.get_inter_op_parallelism_threads())
"""
    assert in_a_process(code) == "3"


def test_a_scan_needs_no_tensorflow(three_blobs, tmp_path):
    """Not even to wait for it."""
    code = f"""
import sys, threading
from importlib import abc
import apache_beam as beam
from kmeans_tf.summary import Summary
from pipeline.transforms import *

class Never(abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "tensorflow":
            raise ImportError("it is not to be loaded")

sys.meta_path.insert(0, Never())
plan = make_plan({str(three_blobs.folder)!r}, ColumnNames(("f0", "f1")), block_rows=150)
work = WorkFolder({str(tmp_path)!r})
spec = ScanSpec(
    columns=plan.columns, metric="sqeuclidean", seed=0, capacity=100, moments=True, impute=False,
    work=work, store=plan.store, cache=JobCache("job", 2),
)
runner = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
with beam.Pipeline(runner=runner) as pipeline:
    _ = pipeline | Blocks(SharedBlocks.write(work, plan.blocks).ranges()) | Scan(spec)
print(load_summary(work).rows)
"""
    assert in_a_process(code) == "600"


def test_while_native_notices_are_hidden_lines_for_the_user_are_not():
    code = """
import os, sys
from kmeans_tf.notices import native_notices_hidden
from pipeline.console import SAYING, say
sys.stderr = sys.__stderr__
with native_notices_hidden(SAYING):
    os.write(2, b"a notice\\n")
    say("a line")
say("another")
os.write(2, b"of the process\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=True)
    assert done.stderr == b"a line\nanother\nof the process\n"


def test_native_notices_are_no_matter_to_a_process_that_ends_meanwhile():
    code = """
import os, sys, threading
from pipeline.__main__ import _leave
from kmeans_tf.notices import native_notices_hidden
from pipeline.console import SAYING, say
sys.stderr = sys.__stderr__
loaded = threading.Event()

def load():
    with native_notices_hidden(SAYING):
        os.write(2, b"a notice\\n")
        loaded.set()
        threading.Event().wait()

threading.Thread(target=load, daemon=True).start()
loaded.wait()
say("an error")
_leave(3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (3, b"an error\n")


def test_native_notices_are_shown_where_something_fails(capfd):
    with pytest.raises(ImportError), native_notices_hidden():
        subprocess.run(["sh", "-c", "echo a notice >&2"], check=True)
        raise ImportError
    say("a line")
    assert capfd.readouterr().err == "a notice\na line\n"
