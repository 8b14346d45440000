"""The wheel, built from what git knows of the tree and opened."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("wheel")  # for the fixtures of this module

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kmeans_tf", "pipeline")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the project to build in: a build leaves folders behind."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout: nothing tells the project's files from others")
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    copy = tmp_path_factory.mktemp("tree")
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # what git knows may have been deleted since
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> set[str]:
    """The names in the wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", folder, "."],
        cwd=tree,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.iterdir()
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_every_module_is_in_it(tree, wheel):
    paths = [path for name in PACKAGES for path in (tree / name).rglob("*.py")]
    modules = {path.relative_to(tree).as_posix() for path in paths}
    assert len(modules) > 40
    modules.add("kmeans_tf_job.py")
    assert modules == {name for name in wheel if name.endswith(".py")}


@pytest.mark.parametrize(
    "name", ["pipeline/output/report.html.j2", "kmeans_tf/py.typed", "pipeline/py.typed"]
)
def test_what_is_not_python_is_in_it(wheel, name):
    assert name in wheel
