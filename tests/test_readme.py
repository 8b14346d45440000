"""The README's blocks run, in order, in one folder; its tables name what there is."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import errors
from pipeline.__main__ import main
from pipeline.command_line.parse import parse

pytestmark = pytest.mark.xdist_group("readme")  # for the fixtures of this module

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


def blocks():
    return [
        Block(match[1], match[2], README[: match.start()].count("\n") + 2)
        for match in FENCE.finditer(README)
    ]


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.M | re.S)[1]


def rows_of(title):
    """The first cells of a section's table, without their backticks."""
    cells = re.findall(r"^\| (.+?) \|", section(title), re.M)
    return [cell.strip("`") for cell in cells[1:]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the README's blocks were run."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        for block in blocks():
            run_block(block)
    sys.modules.pop("huber", None)
    return folder


def test_every_block_is_of_a_kind_that_is_run_or_is_output():
    assert {block.language for block in blocks()} == {"sh", "python", "text"}


def test_the_blocks_run(folder):
    labels = pq.read_table(folder / "out/customers/labels")
    assert labels.num_rows == 20000
    assert pq.read_table(folder / "out/tomorrow/labels").equals(labels)


def run_block(block):
    if block.language == "python":
        run_python(block)
    elif block.language == "sh":
        for words in commands(block.text):
            run_command(block, words)


def run_python(block):
    named = re.match(r"# (\w+\.py)\n", block.text)
    if named:
        Path(named[1]).write_text(block.text)
    code = compile("\n" * (block.line - 1) + block.text, "README.md", "exec")
    exec(code, {"__name__": "readme"})


def commands(text):
    """The commands of a shell block, as words."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def run_command(block, words):
    """Runs a command of the job in this process; a make target need only exist."""
    while re.match(r"\w+=", words[0]):
        words = words[1:]
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(rest) <= set(targets), f"README.md:{block.line}"
        return
    if rest[:2] == ["-m", "pipeline"]:
        program, rest = "kmeans-tf", rest[2:]
    assert Path(program).name == "kmeans-tf", f"README.md:{block.line}: cannot run {program}"
    assert main(rest) == 0, f"README.md:{block.line}"


def options_in_help(capsys, command):
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    return set(re.findall(r"^  (--\w+)", capsys.readouterr().out, re.M))


def test_the_options_table_is_that_of_help(capsys):
    told = options_in_help(capsys, "fit") | options_in_help(capsys, "label")
    assert set(rows_of("Options")) == told


def test_the_options_table_tells_the_defaults():
    fit = parse(["fit", "--input=in", "--output=out"])
    cells = re.findall(r"^\| `(--\w+)` \| (.+?) \|", section("Options"), re.M)
    told = {option: cell.strip("`") for option, cell in cells}
    for name in ("init", "metric", "scale", "on_bad_row", "optimizer", "reduction"):
        assert told[f"--{name}"] == getattr(fit, name)
    assert (told["--runner"], told["--resume"]) == (fit.run.runner, fit.output.resume)
    for name in ("seed", "max_iterations", "tolerance"):
        assert float(told[f"--{name}"]) == getattr(fit, name)
    assert (told["--cache_mb"], fit.run.cache_mb) == ("auto", None)
    assert told["--restarts"] == "1"
    parse(["fit", "--input=in", "--output=out", "--restarts=1"])


def test_the_exit_codes_are_those_of_the_errors():
    kinds = (errors.JobError, errors.UsageError, errors.DataError, errors.RunError)
    codes = {0, errors.INTERRUPTED, *(kind.exit_code for kind in kinds)}
    assert {int(code) for code in rows_of("Exit codes")} == codes | {4}


def test_the_output_folder_holds_what_the_table_names(folder):
    names = {p.name + "/" * p.is_dir() for p in (folder / "out/customers").iterdir()}
    assert names == set(rows_of("The output folder"))


def test_links_lead_somewhere():
    headings = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.+)$", README, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target[1:] in headings if target[0] == "#" else (ROOT / target).exists(), target


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_the_pages_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, place = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.M)
        assert not place or place in {h.lower().replace(" ", "-") for h in headings}, target


def test_the_pages_options_are_known():
    pages = [page.read_text() for page in (ROOT / "docs").glob("*.md")]
    scripts = [
        text for page in pages for text in re.findall(r"^ *```sh\n(.*?)^ *```$", page, re.M | re.S)
    ]
    lines = "".join(scripts).replace("\\\n", " ").splitlines()
    runs = [line for line in lines if "--runner" in line]
    assert len(runs) > 5
    for line in runs:
        _, _, options = line.replace("…", "--input=in --output=out").partition(" fit ")
        parse(["fit", *shlex.split(options)])
