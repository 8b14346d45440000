"""What the job writes down between its passes, under the work folder.

    summary              what the scan found
    state/000012         the training state after 12 iterations
    manifest             what the label pass wrote

A file is a NumPy archive: arrays, and a JSON header for the rest. Nothing is pickled, so a file of
another version fails by name and not by accident.
"""

import io
import json
import posixpath
import zipfile
from collections import Counter
from dataclasses import dataclass

import numpy as np

from kmeans_tf.sample import Sample
from kmeans_tf.state import TrainingState, Trial
from kmeans_tf.summary import Moments, Summary
from pipeline.errors import RunError
from pipeline.store import Store


@dataclass(frozen=True)
class LabelTotals:
    """What the label pass counted and wrote.

    Attributes:
        rows: (k,) int64 rows by prototype.
        weight: (k,) exact sums of row weights (see `kmeans_tf.exact`).
        cost: (k,) exact sums of weighted costs, in the points' frame.
        all_rows: rows read, bad ones included.
        bad_rows: rows with a bad feature.
        bad: how many by (file, column, reason).
        parts: the path of each part that was written, by the name it is to have.
    """

    rows: np.ndarray
    weight: tuple[int, ...]
    cost: tuple[int, ...]
    all_rows: int
    bad_rows: int
    bad: Counter
    parts: dict[str, str]

    @classmethod
    def zero(cls, prototypes: int, parts: dict[str, str]) -> "LabelTotals":
        nothing = (0,) * prototypes
        return cls(np.zeros(prototypes, np.int64), nothing, nothing, 0, 0, Counter(), parts)

    def __add__(self, other: "LabelTotals") -> "LabelTotals":
        return LabelTotals(
            self.rows + other.rows,
            tuple(a + b for a, b in zip(self.weight, other.weight, strict=True)),
            tuple(a + b for a, b in zip(self.cost, other.cost, strict=True)),
            self.all_rows + other.all_rows,
            self.bad_rows + other.bad_rows,
            self.bad + other.bad,
            self.parts | other.parts,
        )


@dataclass(frozen=True)
class WorkFolder:
    """The files of one configuration's attempt(s) at the answer."""

    path: str

    def file(self, name: str) -> str:
        return posixpath.join(self.path, name)

    @property
    def states(self) -> str:
        return self.file("state")

    def state(self, iteration: int) -> str:
        return posixpath.join(self.states, f"{iteration:06d}")


def save_summary(store: Store, work: WorkFolder, summary: Summary) -> None:
    """Writes down what the scan found."""
    moments = summary.moments
    header = {
        "rows": summary.rows,
        "bad_rows": summary.bad_rows,
        "weight": summary.weight,
        "largest_weight": summary.largest_weight,
        "whole_weights": summary.whole_weights,
        "capacity": summary.sample.capacity,
        "bad": _counts(summary.bad),
        "moments": moments and [moments.weight, moments.first, moments.second],
    }
    arrays = {
        "minimum": summary.minimum,
        "maximum": summary.maximum,
        "sample_rows": summary.sample.rows,
        "sample_hashes": summary.sample.hashes,
        "sample_weights": summary.sample.weights,
    }
    store.write(work.file("summary"), _pack(header, arrays))


def load_summary(store: Store, work: WorkFolder) -> Summary | None:
    """What `save_summary` wrote; None if it did not."""
    if not store.version(work.file("summary")):
        return None
    header, arrays = _read(store, work.file("summary"))
    moments = header["moments"]
    return Summary(
        rows=header["rows"],
        bad_rows=header["bad_rows"],
        minimum=arrays["minimum"],
        maximum=arrays["maximum"],
        weight=header["weight"],
        largest_weight=header["largest_weight"],
        whole_weights=header["whole_weights"],
        sample=Sample(
            arrays["sample_rows"],
            arrays["sample_hashes"],
            arrays["sample_weights"],
            header["capacity"],
        ),
        moments=moments and Moments(*map(tuple, moments)),
        bad=_counter(header["bad"]),
    )


def save_state(store: Store, work: WorkFolder, state: TrainingState) -> None:
    """Writes the state down as the checkpoint of its iteration."""
    header = {
        "iteration": state.iteration,
        "squares": state.squares,
        "trials": [
            {
                "status": trial.status,
                "costs": [cost.hex() for cost in trial.costs],
                "relocated": trial.relocated,
                "slots": len(trial.slots),
            }
            for trial in state.trials
        ],
    }
    arrays: dict[str, np.ndarray] = {}
    for i, trial in enumerate(state.trials):
        arrays |= {f"prototypes{i}": trial.prototypes, f"labels{i}": trial.labels}
        arrays |= {f"slot{i}_{s}": slot for s, slot in enumerate(trial.slots)}
    store.write(work.state(state.iteration), _pack(header, arrays))


def load_state(store: Store, path: str) -> TrainingState:
    """The state in a checkpoint."""
    header, arrays = _read(store, path)
    trials = tuple(
        Trial(
            arrays[f"prototypes{i}"],
            arrays[f"labels{i}"],
            tuple(arrays[f"slot{i}_{s}"] for s in range(trial["slots"])),
            trial["status"],
            tuple(map(float.fromhex, trial["costs"])),
            tuple(trial["relocated"]),
        )
        for i, trial in enumerate(header["trials"])
    )
    return TrainingState(trials, header["iteration"], header["squares"])


def save_manifest(store: Store, work: WorkFolder, totals: LabelTotals) -> None:
    """Writes down what the label pass counted and wrote."""
    header = {
        "weight": totals.weight,
        "cost": totals.cost,
        "all_rows": totals.all_rows,
        "bad_rows": totals.bad_rows,
        "bad": _counts(totals.bad),
        "parts": totals.parts,
    }
    store.write(work.file("manifest"), _pack(header, {"rows": totals.rows}))


def load_manifest(store: Store, work: WorkFolder) -> LabelTotals | None:
    """What `save_manifest` wrote; None if it did not."""
    if not store.version(work.file("manifest")):
        return None
    header, arrays = _read(store, work.file("manifest"))
    return LabelTotals(
        arrays["rows"],
        tuple(header["weight"]),
        tuple(header["cost"]),
        header["all_rows"],
        header["bad_rows"],
        _counter(header["bad"]),
        header["parts"],
    )


def _counts(bad: Counter) -> list:
    return [[*key, count] for key, count in sorted(bad.items())]


def _counter(counts: list) -> Counter:
    return Counter({tuple(key): count for *key, count in counts})


def checkpoints(store: Store, work: WorkFolder) -> list[str]:
    """The paths of the checkpoints, oldest first."""
    return [file.path for file in store.files(work.states) if _name(file.path).isdigit()]


def latest_state(store: Store, work: WorkFolder) -> TrainingState | None:
    """The newest checkpoint's state; None if there is none."""
    paths = checkpoints(store, work)
    return load_state(store, paths[-1]) if paths else None


def _name(path: str) -> str:
    return posixpath.basename(path)


def _pack(header: dict, arrays: dict[str, np.ndarray]) -> bytes:
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    stream = io.BytesIO()
    np.savez(stream, **{"header": text} | arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _unpack(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop("header").tobytes()), arrays


def _read(store: Store, path: str) -> tuple[dict, dict[str, np.ndarray]]:
    try:
        return _unpack(store.read(path))
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
        raise RunError(
            f"checkpoint {path} cannot be read ({error}): start again with --resume never"
        ) from error
