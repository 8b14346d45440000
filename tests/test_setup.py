"""How the project is set up: which Pythons, and the versions that were tested."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ["3.11", "3.12", "3.13"]
PINS = dict(re.findall(r"^(\S+?)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))


def made(*words, folder=ROOT, **variables):
    """What `make` would do."""
    return subprocess.run(
        ["make", *words], cwd=folder, env=os.environ | variables, capture_output=True, text=True
    )


def a_python(folder, name, version):
    """A program that says of itself what Python does, as far as `make setup` asks."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    major_minor = version.replace(".", ", ")
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.version_info = ({major_minor}, 0)\n"
        "exec(sys.argv[2])\n"
    )
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({"python3.12": "3.12", "python3": "3.14"}, "python3.12"),
        ({"python3.11": "3.11", "python3.13": "3.13"}, "python3.13"),
        ({"python3": "3.11"}, "python3"),
    ],
)
def test_the_first_python_that_is_supported_is_taken(tmp_path, there, taken):
    for name, version in there.items():
        a_python(tmp_path / "bin", name, version)
    names = "python3.13 python3.12 python3.11 python3"
    pythons = " ".join(str(tmp_path / "bin" / name) for name in names.split())
    done = made("--dry-run", "--always-make", "setup", f"PYTHONS={pythons}")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'bin' / taken} -m venv .venv;" in done.stdout
    assert done.stdout.count("--constraint constraints.txt") == 2


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_no_other_is_taken(tmp_path, version):
    a_python(tmp_path / "bin", "python3", version)
    for name in ("Makefile", "setup.py", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    path = f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    python = str(tmp_path / "bin" / "python3")
    done = made("setup", f"PYTHONS={python}", folder=tmp_path, PATH=path)
    if "uv venv" in done.stderr:
        pytest.skip("uv would make the environment")
    assert done.returncode == 2
    assert "make setup needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_all_say_which_pythons_there_are():
    assert 'python_requires=">=3.11,<3.14"' in (ROOT / "setup.py").read_text()
    said = ", ".join(PYTHONS[:-1]) + f" or {PYTHONS[-1]}"
    for name in ("README.md", "CONTRIBUTING.md"):
        assert f"Python {said}" in (ROOT / name).read_text()
    checked = ", ".join(f'"{python}"' for python in PYTHONS)
    assert f"PYTHONS = ({checked})" in (ROOT / ".ci" / "dependencies").read_text()


def test_every_requirement_is_pinned():
    text = (ROOT / "setup.py").read_text()
    names = re.findall(r'"([a-z][a-z-]+)(?:\[gcp\])?(?:[<=>].*?)?"', text)
    required = {"tensorflow", "numpy", "pyarrow", "pytest", "ruff", "matplotlib", "scipy"}
    assert required <= set(names)
    assert not [name for name in required | {"apache-beam", "mypy"} if name not in PINS]
    assert PINS["apache-beam"] in text


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_the_pins_are_used(name):
    text = (ROOT / name).read_text()
    installs = re.findall(r"pip install(?:\\\n|.)*", text)
    assert installs
    assert all("constraint" in install for install in installs)
