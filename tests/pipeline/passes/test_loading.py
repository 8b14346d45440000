import gc
import importlib
import subprocess
import sys
import threading
import weakref

import pytest

from pipeline.passes.loading import UNUSED, loading, without


class Garbage:
    def __init__(self) -> None:
        self.own = self  # a cycle: only the collector finds it


def test_what_became_garbage_meanwhile_does_not_stay():
    """Other threads read tables while a library loads."""
    loaded = threading.Event()
    other = threading.Thread(target=loaded.wait)
    other.start()
    with loading():
        gone = weakref.ref(Garbage())
        assert gone() is not None
    loaded.set()
    other.join()
    assert gone() is None
    gc.unfreeze()


def test_what_is_there_by_then_is_not_looked_through_again():
    with loading():
        made = [Garbage() for _ in range(10)]
    assert gc.get_freeze_count() > len(made)
    assert gc.isenabled()
    gc.unfreeze()


def test_what_others_load_where_it_is_installed_is_left_out(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "not_needed.py").write_text("")
    with without(("not_needed",)), pytest.raises(ModuleNotFoundError):
        importlib.import_module("not_needed")
    assert importlib.import_module("not_needed")
    with without(("not_needed",)):
        assert importlib.import_module("not_needed")
    assert importlib.import_module("not_needed")


_FIT = """
import sys
from pipeline.__main__ import main
code = main(sys.argv[1:])
print(code, *sorted({name.partition(".")[0] for name in sys.modules if sys.modules[name]}))
import pandas, pyarrow
assert pyarrow.table({"x": [1]}).to_pandas()["x"][0] == 1
"""


def test_no_job_loads_what_none_needs(three_blobs, tmp_path):
    places = ["--input", str(three_blobs.folder), "--output", str(tmp_path / "out")]
    command = [sys.executable, "-c", _FIT, "fit", *places, "--k", "3"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    code, *loaded = ran.stdout.split()
    assert code == "0"
    assert {"apache_beam", "matplotlib", "tensorflow"} <= set(loaded)
    assert not set(UNUSED) & set(loaded)
