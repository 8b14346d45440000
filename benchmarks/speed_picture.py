"""How fast the job is beside others, from docs/speed.json: a table and a picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.processes import held, table

DOCS = Path(__file__).resolve().parent.parent / "docs"
FIGURES, PICTURE = DOCS / "speed.json", DOCS / "speed.svg"
KMEANS_TF, IN_MEMORY = "kmeans-tf", "kmeans_tf.fit"
FAISS, SUPER, SCIKIT_LEARN, ONEDAL = "FAISS", "SuperKMeans", "scikit-learn", "oneDAL"
_COLOURS = {
    FAISS: "#0072b2",
    SUPER: "#56b4e9",
    ONEDAL: "#e69f00",
    SCIKIT_LEARN: "#009e73",
}
_TICKS = (0.25, 0.5, 1, 2, 4)


@dataclass(frozen=True)
class Seen:
    """Medians of some runs.

    Attributes:
        table: its name.
        who: whose runs they are.
        iterations: how many were made.
        iteration: seconds of one, the mean with all that goes with them.
        whole: seconds of the process.
        bars: what its iteration and whole process by ours are held to, and its iteration by
            `kmeans_tf.fit`'s; None where that is nothing.
    """

    table: str
    who: str
    iterations: int
    iteration: float
    whole: float
    bars: Sequence[float | None] = (None, None, None)

    @property
    def race(self) -> str:
        return f"{self.table}, {self.iterations} iterations"


def figures() -> tuple[str, list[Seen]]:
    """The machine that `speed` was measured on, and what was seen."""
    found = json.loads(FIGURES.read_text())
    return found["machine"], [Seen(**one) for one in found["seen"]]


def measure() -> str:
    """Draws the picture and returns the same as a table."""
    _, seen = figures()
    with matplotlib.rc_context({"svg.hashsalt": "speed", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, seen, "iteration", "an iteration")
        _draw(right, seen, "whole", "the whole process")
        left.invert_yaxis()  # and the other's, which is the same
        right.legend(frameon=False, fontsize="small", loc="lower right")
        figure.savefig(PICTURE, metadata={"Date": None})
    return in_words(seen)


def in_words(seen: Sequence[Seen]) -> str:
    """A table of seconds, and of how many times ours the others' are."""
    header = (
        "table",
        "iterations",
        "who",
        "s an iteration",
        "by ours",
        "whole process, s",
        "by ours",
        "s an iteration by kmeans_tf.fit's",
    )
    rows = []
    for one in seen:
        ours, in_memory = _of(seen, one, KMEANS_TF), _of(seen, one, IN_MEMORY)
        assert ours  # who runs in every race
        of_iteration, of_whole, of_fit = one.bars
        rows.append(
            [
                one.table,
                str(one.iterations),
                one.who,
                f"{one.iteration:.3f}",
                held(one.iteration / ours.iteration, least=of_iteration),
                f"{one.whole:.1f}",
                "" if one.who == IN_MEMORY else held(one.whole / ours.whole, least=of_whole),
                held(one.iteration / in_memory.iteration, least=of_fit) if in_memory else "",
            ]
        )
    return table(header, rows)


def _of(seen: Sequence[Seen], one: Seen, who: str) -> Seen | None:
    """What another was seen to take in the same race, if it ran."""
    return next((each for each in seen if (each.race, each.who) == (one.race, who)), None)


def _draw(axes: Axes, seen: Sequence[Seen], what: str, title: str) -> None:
    """Bars of the others' seconds by ours, a group for each race."""
    races = list(dict.fromkeys(one.race for one in seen))
    named = set[str]()
    for place, name in enumerate(races):
        others = [one for one in seen if one.race == name and one.who in _COLOURS]
        for number, one in enumerate(others):
            ratio = getattr(one, what) / getattr(_of(seen, one, KMEANS_TF), what)
            away = (number - (len(others) - 1) / 2) * 0.2
            label = None if one.who in named else one.who
            named.add(one.who)
            axes.barh(place + away, ratio - 1, 0.18, left=1, color=_COLOURS[one.who], label=label)
    axes.set_xscale("log")
    axes.set_xlim(0.22, 4.5)
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.minorticks_off()
    axes.set_yticks(range(len(races)), races)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("others' seconds by ours: right of 1, kmeans-tf is faster")
    axes.set_title(title)
