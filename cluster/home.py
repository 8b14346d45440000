"""Where the clusters live, and the one error they raise."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
HOME = REPOSITORY / ".cluster"
HOST = "localhost"


class ClusterError(Exception):
    """A cluster cannot be built, started or stopped; the message says what to change."""


def folder(*parts: str) -> Path:
    """A folder under `.cluster/`, made if it is missing."""
    path = HOME.joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def write(path: Path, text: str) -> Path:
    """Writes a configuration file whole: a reader never sees half of it."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text)
    return draft.replace(path)
