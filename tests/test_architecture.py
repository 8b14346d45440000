"""Who may import whom, read from the imports as they are written; only --help is run."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kmeans_tf", "pipeline")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for name in PACKAGES for path in (ROOT / name).rglob("*.py")}


def imports(module: str, tree: ast.AST) -> Iterator[str]:
    """Every module that is imported in a tree, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in SOURCES else node.module


def parsed(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text())


def imports_when_loaded(module: str) -> set[str]:
    """Those that are not inside a function."""
    tree = parsed(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = []
    return set(imports(module, tree))


def inside(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def arrows(room: str) -> list[tuple[str, str]]:
    """(module of the room, what it imports), imports inside functions too."""
    modules = [module for module in SOURCES if inside(module, (room,))]
    assert modules, f"no module in {room}"
    return sorted({(m, imported) for m in modules for imported in imports(m, parsed(m))})


SPEECH = ("pipeline.console", "pipeline.errors", "pipeline.command_line")  # to and from the user
BELOW = {
    "kmeans_tf": (),
    "pipeline.command_line": (
        "pipeline.data.addresses",
        "pipeline.data.names",
        "pipeline.environment",
        "pipeline.errors",
    ),
    "pipeline.data": ("pipeline.environment", "pipeline.errors"),
    "pipeline.passes": ("pipeline.data", "pipeline.console", "pipeline.errors"),
    "pipeline.transforms": ("pipeline.data", "pipeline.passes"),
    "pipeline.inference": ("pipeline.data",),
    "pipeline.runners": (
        "pipeline.data.addresses",
        "pipeline.data.store",
        "pipeline.passes.checkpoint",
        "pipeline.passes.cores",
        "pipeline.passes.counters",
        "pipeline.passes.heartbeat",
        *SPEECH,
    ),
    "pipeline.output": ("pipeline.data", "pipeline.passes", *SPEECH),
    "pipeline.nights": ("pipeline.data", "pipeline.output", *SPEECH),
    "pipeline.worker_pool": (
        "pipeline.passes",
        "pipeline.runners.identity",
        "pipeline.console",
        "pipeline.environment",
        "pipeline.errors",
    ),
}
DRIVER = ("pipeline.__main__", "pipeline.driver")


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_lies_below_it(room):
    ours = [arrow for arrow in arrows(room) if inside(arrow[1], PACKAGES)]
    allowed = (room, "kmeans_tf", *BELOW[room])
    assert not [arrow for arrow in ours if not inside(arrow[1], allowed)]


def test_nothing_but_the_driver_knows_the_driver():
    others = [arrow for arrow in arrows("pipeline") if not inside(arrow[0], DRIVER)]
    assert not [arrow for arrow in others if inside(arrow[1], DRIVER)]


GUESTS = {"pyarrow", "sklearn"}  # for a table of Arrow's, and where scikit-learn asks for its own


def libraries(room):
    """What a room imports that is neither ours nor Python's."""
    names = {imported.partition(".")[0] for _, imported in arrows(room)}
    return names - {*PACKAGES} - sys.stdlib_module_names


def test_the_mathematics_needs_neither_beam_nor_a_file_format():
    assert libraries("kmeans_tf") - GUESTS == {"numpy", "scipy", "tensorflow"}


def test_what_a_user_may_bring_along_is_not_loaded_before():
    modules = [module for module in SOURCES if inside(module, ("kmeans_tf",))]
    loaded = {name for module in modules for name in imports_when_loaded(module)}
    assert not [name for name in loaded if inside(name, (*GUESTS,))]


def test_tensorflow_is_loaded_by_one_module():
    """The others take `tf` from it, which loads nothing before it is used."""
    named = [module for room in PACKAGES for module, name in arrows(room) if name == "tensorflow"]
    assert named == ["kmeans_tf.runtime"]


def test_the_data_is_read_without_beam():
    assert libraries("pipeline.data") == {"numpy", "pyarrow", "deltalake", "pyiceberg"}


@pytest.mark.parametrize(("package", "module"), [("deltalake", "delta"), ("pyiceberg", "iceberg")])
def test_what_reads_a_tables_log_is_loaded_where_there_is_one(package, module):
    every = arrows("pipeline")
    users = {user for user, imported in every if imported.partition(".")[0] == package}
    assert users == {f"pipeline.data.{module}"}
    assert not [user for user, imported in every if imported in users]


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: imports_when_loaded(module) & SOURCES.keys() for module in SOURCES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("command", [[], ["fit"]], ids=["all commands", "fit"])
def test_help_loads_no_large_library(command):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.startswith("usage: kmeans-tf")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pipeline.command_line" in loaded
    large = loaded & {"tensorflow", "apache_beam", "pyarrow", "matplotlib"}
    assert not large
