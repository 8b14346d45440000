"""What differs between two outputs, in words."""

import contextlib
import posixpath
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.digests import hash_values, row_hashes
from pipeline.data.page_sums import READING
from pipeline.data.store import Store
from pipeline.errors import UsageError
from pipeline.nights.previous import read_run
from pipeline.output.run_record import RunRecord

_FIGURES = 4  # columns of the prototypes before the features: label, rows, weight, cost
_BATCH_ROWS = 1 << 18
_BUCKET_ROWS = 1 << 22  # of an output, about: what is compared at a time
_MOST_BUCKETS = 256  # each is an open file
_LONGEST = 200  # letters of a value
_UNNAMED = {  # of the configuration, what says nothing to anyone
    "files": "the input: other files, or files that were rewritten",
    "prototypes": "the prototypes that --init gave",
    "metric_code": "the code of the metric",
    "model_content": "the content of --model",
}


@dataclass(frozen=True)
class Output:
    """A finished output, and what is in it."""

    store: Store
    folder: str
    run: RunRecord
    history: pa.Table
    prototypes: pa.Table

    @classmethod
    def read(cls, store: Store, folder: str) -> "Output":
        run, tables = read_run(store, folder, "diff")
        return cls(store, folder, run, tables.history, tables.prototypes)

    def hashes(self) -> Iterator[np.ndarray]:
        """(n, 2) uint64 of the rows, some at a time: of each by key or place, and with its label.

        Raises:
            UsageError: the labels are not there, or damaged.
        """
        folder = posixpath.join(self.folder, "labels")
        files = self.store.files(folder)
        if not files:
            raise UsageError(f"diff {self.folder}: {folder}: no labels there")
        for file in files:
            try:
                with self.store.open(file) as stream:
                    for batch in pq.ParquetFile(stream, **READING).iter_batches(_BATCH_ROWS):
                        *key, label, _ = map(hash_values, batch.columns)
                        yield np.stack([row_hashes(key), row_hashes([*key, label])], 1)
            except (pa.ArrowException, OSError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise UsageError(f"diff {self.folder}: {file.path}: {reason}") from error

    @cached_property
    def rows(self) -> dict[int, np.ndarray]:
        """The prototypes (d,) float64 by label."""
        labels, *_ = self.prototypes.columns[:_FIGURES]
        features = self.prototypes.columns[_FIGURES:]
        if pa.types.is_nested(features[0].type):
            rows = np.array(features[0].to_pylist(), np.float64)
        else:
            rows = np.stack([column.to_numpy() for column in features], 1)
        return dict(zip(labels.to_pylist(), rows, strict=True))

    @property
    def features(self) -> tuple[Sequence[str], set[tuple[int, ...]]]:
        """Their names, and their number."""
        return self.prototypes.column_names[_FIGURES:], {row.shape for row in self.rows.values()}


@dataclass(frozen=True)
class Outputs:
    """Two outputs beside each other."""

    one: Output
    other: Output

    @classmethod
    def read(cls, store: Store, one: str, other: str) -> "Outputs":
        """Those in two folders.

        Raises:
            UsageError: one is no output, or damaged.
        """
        return cls(Output.read(store, one), Output.read(store, other))

    @cached_property
    def same(self) -> bool:
        """Whether rows, prototypes, history (of what was trained) and labels are the same."""
        return not self._answer

    def lines(self) -> Iterator[str]:
        """What differs, a line each, and what that comes to."""
        yield from self._configuration()
        yield from self._versions()
        yield from self._answer
        yield "the answers are the same" if self.same else "the answers differ"

    def _configuration(self) -> Iterator[str]:
        mine, theirs = self.one.run.configuration, self.other.run.configuration
        if ("model" in mine) != ("model" in theirs):
            yield "configuration: one is of fit, the other of label"
            both = mine.keys() & theirs.keys()
            mine, theirs = ({name: of[name] for name in both} for of in (mine, theirs))
        for name, one, other in _differing(mine, theirs):
            if name in _UNNAMED:
                yield f"configuration: {_UNNAMED[name]}"
            else:
                yield f"configuration: {name} is {one} and {other}"

    def _versions(self) -> Iterator[str]:
        for name, one, other in _differing(self.one.run.versions, self.other.run.versions):
            yield f"versions: {name} is {one} and {other}"

    @cached_property
    def _answer(self) -> list[str]:
        return [*self._rows(), *self._prototypes(), *self._history(), *self._labels()]

    def _rows(self) -> Iterator[str]:
        one, other = self.one.run.counts, self.other.run.counts
        for name, text in (("rows", "rows"), ("bad_rows", "bad rows"), ("weight", "weight")):
            mine, theirs = getattr(one, name), getattr(other, name)
            if mine != theirs:
                yield f"rows: {mine:,} and {theirs:,} {text}"

    def _prototypes(self) -> Iterator[str]:
        if self._same_digest("prototypes"):
            return
        if self.one.features != self.other.features:
            yield "prototypes: they have other features"
            return
        one, other = self.one.rows, self.other.rows
        for mine, theirs, which in ((one, other, "first"), (other, one, "second")):
            if missing := len(mine.keys() - theirs.keys()):
                yield f"prototypes: {missing:,} only in the {which}"
        both = one.keys() & other.keys()
        moved = [label for label in both if one[label].tobytes() != other[label].tobytes()]
        if moved:
            far = max(np.abs(one[label] - other[label]).max() for label in moved)
            yield f"prototypes: {len(moved):,} of {len(both):,} differ, by at most {far:.3g}"

    def _history(self) -> Iterator[str]:
        one, other = self.one.history, self.other.history
        if self._same_digest("history") or one.equals(other) or not (len(one) and len(other)):
            return
        if len(one) != len(other):
            yield f"history: {len(one):,} and {len(other):,} iterations"
        else:
            yield "history: the costs of the iterations differ"

    def _labels(self) -> Iterator[str]:
        if self._same_digest("labels"):
            return
        mine, theirs, common, same = _counted(self.one, self.other)
        for count, which in ((mine, "first"), (theirs, "second")):
            if count > common:
                yield f"labels: {count - common:,} rows are only in the {which}"
        if common > same:
            yield f"labels: {common - same:,} of {common:,} rows have another label"

    def _same_digest(self, name: str) -> bool:
        one, other = self.one.run.digests, self.other.run.digests
        return bool(one and other) and getattr(one, name) == getattr(other, name)


def _differing(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Names, and the values that differ as text."""
    for name in sorted(one.keys() | other.keys()):
        mine, theirs = (repr(of[name]) if name in of else "not there" for of in (one, other))
        if mine != theirs:
            yield name, _short(mine), _short(theirs)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _counted(one: Output, other: Output) -> np.ndarray:
    """How many rows are in one, in the other, in both, and in both with the same label: (4,)."""
    rows = max(one.run.counts.rows, other.run.counts.rows)
    buckets = min(_MOST_BUCKETS, 1 + max(0, rows) // _BUCKET_ROWS)
    total = np.zeros(4, np.int64)
    with _cut(one, buckets) as mine, _cut(other, buckets) as theirs:
        for bucket in zip(mine, theirs, strict=True):
            (keys, pairs), (other_keys, other_pairs) = map(_read, bucket)
            both = (_in_both(keys, other_keys), _in_both(pairs, other_pairs))
            total += (len(keys), len(other_keys), *both)
    return total


@contextlib.contextmanager
def _cut(output: Output, buckets: int) -> Iterator[Sequence[IO[bytes]]]:
    """Temporary files of an output's hashes, one for each bucket of keys."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(buckets)]
        for hashes in output.hashes():
            bucket = (hashes[:, 0] % np.uint64(buckets)).astype(np.uint16)
            order = np.argsort(bucket, kind="stable")
            ends = np.searchsorted(bucket[order], np.arange(1, buckets))
            for file, part in zip(files, np.split(hashes[order], ends), strict=True):
                file.write(part.tobytes())
        yield files


def _read(file: IO[bytes]) -> np.ndarray:
    """(2, n) uint64 of the rows in a bucket."""
    file.seek(0)
    return np.fromfile(file, np.uint64).reshape(-1, 2).T


def _in_both(one: np.ndarray, other: np.ndarray) -> int:
    """How many numbers are in both, as often as they are in each."""
    (mine, of_mine), (theirs, of_theirs) = (np.unique(x, return_counts=True) for x in (one, other))
    _, i, j = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    return int(np.minimum(of_mine[i], of_theirs[j]).sum())
