"""Tables to time on: Gaussian blobs in Parquet shards, made once and kept."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path("out/bench")
_ROW_GROUP = 1 << 17


@dataclass(frozen=True)
class Case:
    """n rows of d float32 features in a number of files, and k prototypes.

    The rows lie around as many centres as there are prototypes, or as are told.
    """

    n: int
    d: int
    k: int
    files: int
    centres: int | None = None

    @property
    def name(self) -> str:
        return f"{self.n:,} x {self.d}, k = {self.k}"

    @property
    def is_list(self) -> bool:
        """Whether a row is a list in one column, as embeddings are."""
        return self.d >= 256

    @property
    def folder(self) -> Path:
        around = "" if self.centres is None else f"-around-{self.centres}"
        return OUT / f"{self.n}x{self.d}x{self.k}{around}"

    @property
    def start(self) -> Path:
        """The prototypes that both sides start from, (k, d) float32."""
        return self.folder / "start.npy"


def make(case: Case) -> Path:
    """Writes the shards and the start, unless they exist; returns the folder of the shards."""
    table = case.folder / "table"
    if case.start.exists():
        return table
    table.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    count = case.k if case.centres is None else case.centres
    centres = random.normal(size=(count, case.d)).astype(np.float32) * np.float32(1.2)
    per_file = case.n // case.files
    for index in range(case.files):
        rows = _rows(random, centres, per_file)
        path = table / f"shard-{index:05d}.parquet"
        pq.write_table(_table(case, rows), path, row_group_size=_ROW_GROUP, compression="zstd")
    np.save(case.start, rows[random.choice(per_file, case.k, replace=False)])
    return table


def rows_of(table: pa.Table) -> np.ndarray:
    """(n, d) float32 of columns of numbers, or of one column of lists."""
    if table.num_columns > 1:
        return np.stack([column.to_numpy() for column in table.columns], 1)
    lists = table.column(0).combine_chunks()
    return lists.flatten().to_numpy().reshape(len(lists), -1)


def _table(case: Case, rows: np.ndarray) -> pa.Table:
    if case.is_list:
        return pa.table({"vector": pa.FixedSizeListArray.from_arrays(rows.ravel(), case.d)})
    return pa.table({f"f{j:03d}": np.ascontiguousarray(rows[:, j]) for j in range(case.d)})


def _rows(random: np.random.Generator, centres: np.ndarray, n: int) -> np.ndarray:
    labels = random.integers(0, len(centres), n)
    return centres[labels] + random.standard_normal((n, centres.shape[1]), dtype=np.float32)
