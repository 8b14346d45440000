"""An output folder of the job, read back. Axes: n rows, d features, k prototypes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output.run_record import RUN, RunRecord
from tests.tables import read_labels

NOT_FEATURES = ("label", "rows", "weight", "cost")


@dataclass(frozen=True)
class Answer:
    """What `fit` or `label` left in a folder."""

    folder: Path

    @cached_property
    def table(self) -> pa.Table:
        """The labels' files, one after the other."""
        return read_labels(self.folder)

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int64 in the order of the input; -1 for null."""
        return self.table["label"].fill_null(-1).to_numpy().astype(np.int64)

    @cached_property
    def distances(self) -> np.ndarray:
        """(n,) float32; NaN for null."""
        return self.table["distance"].to_numpy()

    @cached_property
    def prototypes(self) -> pa.Table:
        return pq.read_table(self.folder / "prototypes.parquet")

    @cached_property
    def centres(self) -> np.ndarray:
        """(k, d) float64."""
        columns = self.prototypes.drop_columns(list(NOT_FEATURES))
        if pa.types.is_floating(columns.schema.types[0]):
            return np.stack([column.to_numpy() for column in columns], 1)
        return np.array(columns.column(0).to_pylist())

    @cached_property
    def history(self) -> pa.Table:
        return pq.read_table(self.folder / "history.parquet")

    @cached_property
    def costs(self) -> np.ndarray:
        """(iterations,) float64."""
        return self.history["cost"].to_numpy()

    @cached_property
    def run(self) -> RunRecord:
        return RunRecord.parse((self.folder / RUN).read_bytes())

    def by_key(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """The labels (n,) and the bits of the distances (n,), in the order of a key."""
        order = np.argsort(self.table[key].to_numpy())
        return self.labels[order], self.distances[order].view(np.uint32)


def assert_same_training(one: Answer, other: Answer) -> None:
    """Prototypes and history agree to the bit."""
    assert one.centres.tobytes() == other.centres.tobytes()
    assert one.history.equals(other.history)
    assert one.prototypes.select(NOT_FEATURES).equals(other.prototypes.select(NOT_FEATURES))


def assert_same_answer(one: Answer, other: Answer) -> None:
    """Labels, prototypes and history agree to the bit."""
    assert_same_training(one, other)
    assert one.table.equals(other.table)


def with_options(words: Sequence[str], *more: str) -> list[str]:
    """A command line in which some options have other values: none may be given twice."""
    anew = {word.split("=")[0] for word in more}
    return [*(word for word in words if word.split("=")[0] not in anew), *more]


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
