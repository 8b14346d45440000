"""What the job writes down between its passes, under the work folder.

files                of which the workers read the footers
footers/00012        what they found in a range of them
blocks               what there is to read
summary              what the scan found
state/000012         the training state after 12 iterations
labelling            the model that the label pass labels with
figures              what the trials add up to by prototype
manifest             what the label pass wrote
sums/                partial sums that are too large to travel
workers/HOST-PID     what a worker process is at, while it is
"""

import contextlib
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kmeans_tf.exact import ExactVector
from kmeans_tf.figures import FigureSums
from kmeans_tf.model import Model
from kmeans_tf.sample import Sample
from kmeans_tf.state import Oversampling, Proof, TrainingState, Trial
from kmeans_tf.summary import Moments, Summary
from pipeline.console import say
from pipeline.data.store import FileVersion, Store
from pipeline.errors import SHARED_OUTPUT, DamagedError, NoResumeError, SetupError
from pipeline.passes.archive import DamageError, pack, unpack
from pipeline.passes.shared import Shared, fetch, hand, remember, share, take
from pipeline.passes.totals import LABEL_TOTALS, LabelTotals


@dataclass(frozen=True)
class TrialSums:
    """What all rows add up to, by trial."""

    trials: dict[int, FigureSums]

    def __add__(self, other: "TrialSums") -> "TrialSums":
        return TrialSums(
            {number: self.trials[number] + other.trials[number] for number in self.trials}
        )


FIGURES = (TrialSums, FigureSums)
SUMMARY = (Summary, Moments, Sample, ExactVector)
_STATE = (TrainingState, Trial, Proof, Oversampling)


@dataclass(frozen=True)
class WorkFolder:
    """The files of one configuration's attempt(s) at the answer, and the store they lie in.

    Attributes:
        path: the folder.
        store: where it is.
        alone: whether nobody but this process works there, so that sums need not be files.
    """

    path: str
    store: Store = field(default_factory=Store)
    alone: bool = False

    def file(self, name: str) -> str:
        return posixpath.join(self.path, name)

    @property
    def states(self) -> str:
        return self.file("state")

    @property
    def staged(self) -> str:
        return self.file("staged")

    @property
    def workers(self) -> str:
        return self.file("workers")

    def state(self, iteration: int) -> str:
        return posixpath.join(self.states, f"{iteration:06d}")

    @property
    def sums(self) -> str:
        return self.file("sums")

    def sums_of(self, iteration: int) -> str:
        return posixpath.join(self.sums, f"{iteration:06d}")


@dataclass(frozen=True)
class Checkpoint:
    """A state that was written down, as it goes from worker to worker.

    Attributes:
        iteration: after which it was.
        done: see `TrainingState`.
        shared: where it lies.
    """

    iteration: int
    done: bool
    shared: Shared


@dataclass(frozen=True)
class FooterColumns:
    """The footers of some files, or what is wrong with the first that has none.

    Attributes:
        schemas, schema, row_groups, ends: see `Footers`; schemas as Arrow writes them, uint8.
        problem: why there are none; empty if there are.
    """

    schemas: tuple[np.ndarray, ...]
    schema: np.ndarray
    row_groups: np.ndarray
    ends: np.ndarray
    problem: str = ""


def save_footers(work: WorkFolder, number: int, footers: FooterColumns) -> None:
    """Writes down what a worker found in a range of files."""
    _write(work, _footers(number), footers)


def load_footers(work: WorkFolder, number: int) -> FooterColumns:
    """What `save_footers` wrote.

    Raises:
        RunError: it is not here.
    """
    return _load(work, _footers(number), [FooterColumns])


def _footers(number: int) -> str:
    return posixpath.join("footers", f"{number:05d}")


def save_summary(work: WorkFolder, summary: Summary) -> None:
    """Writes down what the scan found."""
    _write(work, "summary", summary)
    if work.alone:
        hand(work.file("summary"), summary)


def find_summary(work: WorkFolder) -> Summary | None:
    """What `save_summary` wrote; None if it did not, or it is damaged."""
    return _find(work, "summary", SUMMARY)


def load_summary(work: WorkFolder) -> Summary:
    """What `save_summary` wrote.

    Raises:
        RunError: it is not here.
    """
    summary = take(work.file("summary"))
    return _load(work, "summary", SUMMARY) if summary is None else summary


def save_figures(work: WorkFolder, sums: TrialSums) -> None:
    """Writes down what the trials add up to."""
    _write(work, "figures", sums)


def find_figures(work: WorkFolder) -> TrialSums | None:
    """What `save_figures` wrote; None if it did not, or it is damaged."""
    return _find(work, "figures", FIGURES)


def load_figures(work: WorkFolder) -> TrialSums:
    """What `save_figures` wrote.

    Raises:
        RunError: it is not here.
    """
    return _load(work, "figures", FIGURES)


def save_model(work: WorkFolder, model: Model) -> Shared:
    """Writes down what the label pass labels with."""
    return share(work.store, work.file("labelling"), model)


def fetch_model(work: WorkFolder, shared: Shared) -> Model:
    """What `save_model` wrote.

    Raises:
        RunError: it is not here.
    """
    return fetch(work.store, shared, [Model])


def save_manifest(work: WorkFolder, totals: LabelTotals) -> None:
    """Writes down what the label pass counted and wrote."""
    _write(work, "manifest", totals)


def find_manifest(work: WorkFolder) -> LabelTotals | None:
    """What `save_manifest` wrote; None if it did not, or it is damaged."""
    return _find(work, "manifest", LABEL_TOTALS)


def load_manifest(work: WorkFolder) -> LabelTotals:
    """What `save_manifest` wrote.

    Raises:
        RunError: it is not here.
    """
    return _load(work, "manifest", LABEL_TOTALS)


def forget_labels(work: WorkFolder) -> None:
    """Lets the label pass be done again: its files go elsewhere, or are of earlier prototypes."""
    work.store.delete(work.file("manifest"))


def forget_figures(work: WorkFolder) -> None:
    """Lets the trials' figures be found again: they are of earlier prototypes."""
    work.store.delete(work.file("figures"))


def save_state(work: WorkFolder, state: TrainingState) -> Checkpoint:
    """Writes the state down as the checkpoint of its iteration."""
    shared = share(work.store, work.state(state.iteration), state, slot=work.states)
    return Checkpoint(state.iteration, state.done, shared)


def fetch_state(work: WorkFolder, checkpoint: Checkpoint) -> TrainingState:
    """The state that was written down.

    Raises:
        RunError: it is not here.
    """
    return fetch(work.store, checkpoint.shared, _STATE)


def find_checkpoint(work: WorkFolder, iteration: int) -> Checkpoint | None:
    """The checkpoint of an iteration; None if it was not written."""
    path = work.state(iteration)
    if not work.store.version(path):
        return None
    data = work.store.read(path)
    state = _unpacked(path, data, _STATE)
    return Checkpoint(iteration, state.done, remember(path, data, state, slot=work.states))


def load_state(work: WorkFolder, path: str) -> TrainingState:
    """The state in a checkpoint.

    Raises:
        DamagedError: it is not whole, or of something else.
        NoResumeError: another version has written it.
    """
    return _read(work.store, path, _STATE)


def checkpoints(work: WorkFolder) -> list[str]:
    """The paths of the checkpoints, oldest first."""
    return [file.path for _, file in checkpoint_files(work)]


def checkpoint_files(work: WorkFolder) -> list[tuple[int, FileVersion]]:
    """The iterations whose checkpoints are there, with their files, oldest first."""
    named = [(posixpath.basename(file.path), file) for file in work.store.files(work.states)]
    return [(int(name), file) for name, file in named if name.isdigit()]


def find_state(work: WorkFolder) -> TrainingState | None:
    """The state of the newest checkpoint that is whole; None if there is none.

    A newer one is deleted, and a line says so: it would pass for the newest.

    Raises:
        NoResumeError: another version has written it.
    """
    for path in reversed(checkpoints(work)):
        with _passing_over(work, path):
            return load_state(work, path)
    return None


def latest_state(work: WorkFolder) -> TrainingState:
    """The newest checkpoint's state, as `find_state` has it.

    Raises:
        RunError: there is none here.
    """
    state = find_state(work)
    if state is None:
        raise _absent(work)
    return state


def settle(work: WorkFolder) -> None:
    """What a resumed job goes on from outlives the sudden end of the machine, as it is now."""
    newest = checkpoints(work)[-1:]
    work.store.settle([work.file("summary"), *newest, work.states, work.path])


def _write(work: WorkFolder, name: str, value: Any) -> None:
    path = work.file(name)
    work.store.write(path, pack(value, path))


def _find(work: WorkFolder, name: str, kinds: Sequence[type]) -> Any:
    path = work.file(name)
    with _passing_over(work, path):
        return _read(work.store, path, kinds) if work.store.version(path) else None
    return None


def _load(work: WorkFolder, name: str, kinds: Sequence[type]) -> Any:
    path = work.file(name)
    if not work.store.version(path):
        raise _absent(work)
    return _read(work.store, path, kinds)


def _absent(work: WorkFolder) -> SetupError:
    return SetupError(f"what the workers wrote did not reach {work.path} here: {SHARED_OUTPUT}")


@contextlib.contextmanager
def _passing_over(work: WorkFolder, path: str) -> Iterator[None]:
    """Deletes a file that is damaged, as where the machine ended before all was on the disk."""
    try:
        yield
    except DamagedError as error:
        say(f"warning: {error}: what led to it is done again")
        work.store.delete(path)


def _read(store: Store, path: str, kinds: Sequence[type]) -> Any:
    return _unpacked(path, store.read(path), kinds)


def _unpacked(path: str, data: bytes, kinds: Sequence[type]) -> Any:
    try:
        return unpack(data, kinds, path)
    except DamageError as error:
        raise DamagedError(f"checkpoint {path} is damaged, or something else") from error
    except ValueError as error:
        raise NoResumeError(
            f"checkpoint {path} cannot be read ({error}): start again with --resume never"
        ) from error
