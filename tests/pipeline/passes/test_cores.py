"""How many cores a process may use: those of the machine, or of its container."""

import os

import pytest

from pipeline.command_line.options import RunOptions
from pipeline.passes import cores as module
from pipeline.passes.cores import cores
from pipeline.runners.settings import Settings


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """A machine of sixteen cores, all of which the process may use, in a group of its own."""
    (tmp_path / "own").write_text("0::/pods/one\n")
    monkeypatch.setattr(module, "_GROUPS", tmp_path)
    monkeypatch.setattr(module, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    return tmp_path


def limit(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")).write_text(text)


def test_without_a_limit(groups):
    assert cores() == 16
    limit(groups, cpu_max="max 100000\n")
    assert cores() == 16


def test_affinity(groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7, 9}, raising=False)
    assert cores() == 3
    assert Settings(RunOptions()).threads == 3


@pytest.mark.parametrize(
    ("quota", "expected"), [("200000", 2), ("150000", 2), ("50000", 1), ("9900000", 16)]
)
@pytest.mark.parametrize("place", ["", "pods", "pods/one"])
def test_a_quota_of_any_group_around(groups, quota, expected, place):
    limit(groups / place, cpu_max=f"{quota} 100000\n")
    assert cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("-1", 16)])
def test_a_quota_of_the_first_version(groups, quota, expected):
    limit(groups / "cpu", cpu_cfs_quota_us=quota, cpu_cfs_period_us="100000")
    assert cores() == expected


def test_a_system_without_either(groups, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    (groups / "own").unlink()
    assert cores() == 5
