"""Digests of the answers to a fixed set of small runs, to hold two checkouts against each other.

    python -m benchmarks.answers > new.txt
    (cd OTHER && PYTHONPATH=$PWD python HERE/benchmarks/answers.py) | diff - new.txt

A line is a run with three digests: of its labels (the numbers alone), of its training (history and
the prototypes' features), and of the figures that go with them. The same digest, the same bits.
"""

import contextlib
import hashlib
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_HUBER = """
import tensorflow as tf

def huber(points, prototypes):
    away = tf.abs(points - prototypes)
    return tf.reduce_sum(tf.where(away < 1, away**2 / 2, away - 0.5), 1)

huber.gradient_bound = 1.0
"""
_SGD = ("--optimizer=sgd", "--reduction=mean", "--learning_rate=0.1")
_ADAM = ("--optimizer=adam", "--learning_rate=0.05")
_PLUS = "--init=k-means++"
RUNS: dict[str, tuple[str, ...]] = {
    "sqeuclidean lloyd": (_PLUS,),
    "sqeuclidean sgd": (_PLUS, *_SGD),
    "sqeuclidean adam": (_PLUS, *_ADAM),
    "cosine lloyd": (_PLUS, "--metric=cosine"),
    "cosine sgd": (_PLUS, "--metric=cosine", *_SGD),
    "cosine adam": (_PLUS, "--metric=cosine", *_ADAM),
    "l1 sgd": (_PLUS, "--metric=l1", *_SGD),
    "l1 adam": (_PLUS, "--metric=l1", *_ADAM),
    "own metric adam": (_PLUS, "--metric=answers_huber:huber", *_ADAM),
    "random start": ("--init=random",),
    "given start": ("--init=START", "--k=7"),
    "scaled": (_PLUS, "--scale=standard"),
    "weights": (_PLUS, "--weight=weight"),
    "fractional weights": (_PLUS, "--weight=share"),
    "bad rows left out": (_PLUS, "--on_bad_row=null", "--features=a,b,gaps"),
    "bad rows imputed": (_PLUS, "--on_bad_row=impute", "--features=a,b,gaps"),
    "list column": (_PLUS, "--features=embedding"),
}


def digests(output: Path) -> str:
    """Digests of the labels, the training and the figures of an output folder."""
    parts = sorted((output / "labels").glob("part-*.parquet"))
    labels = pa.concat_tables([pq.read_table(part) for part in parts])
    prototypes = pq.read_table(output / "prototypes.parquet")
    figures = [name for name in ("rows", "weight", "cost") if name in prototypes.column_names]
    groups = (
        [labels.select(["label"])],
        [pq.read_table(output / "history.parquet"), prototypes.drop_columns(figures)],
        [labels.drop_columns(["label"]), prototypes.select(figures)],
    )
    return "  ".join(map(_digest, groups))


def _digest(tables: Sequence[pa.Table]) -> str:
    content = hashlib.sha256()
    for table in tables:
        for column in table.itercolumns():
            content.update(str(column.to_pylist()).encode())
    return content.hexdigest()[:12]


def main() -> None:
    """Does the runs, or digests the output folders that are named."""
    if sys.argv[1:]:
        for output in map(Path, sys.argv[1:]):
            print(f"{digests(output)}  {output.name}")
        return
    from pipeline.__main__ import main as kmeans_tf

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "answers_huber.py").write_text(_HUBER)
        sys.path.append(temporary)
        _write_input(folder)
        for name, options in RUNS.items():
            words = [option.replace("START", f"{folder}/start.npy") for option in options]
            words += [] if "--features" in str(words) else ["--features=a,b,c"]
            words += ["--max_iterations=15"]
            words += ["--k=5"] if "--k" not in str(words) else []
            output = folder / name.replace(" ", "-")
            with contextlib.redirect_stderr(io.StringIO()) as messages:
                code = kmeans_tf(
                    ["fit", f"--input={folder}/in", f"--output={output}", "--keys=id", *words]
                )
            if code:
                raise SystemExit(f"{name}: exit {code}: {messages.getvalue()}")
            print(f"{digests(output)}  {name}", flush=True)


def _write_input(folder: Path) -> None:
    random = np.random.default_rng(5)
    n = 20_000
    centres = random.normal(size=(9, 3)) * 3
    rows = centres[random.integers(0, 9, n)] + random.normal(size=(n, 3))
    gaps = np.where(random.random(n) < 0.02, np.nan, rows[:, 2])
    columns = {
        "id": np.arange(n),
        "a": rows[:, 0],
        "b": rows[:, 1].astype(np.float32),
        "c": np.rint(rows[:, 2] * 1000).astype(np.int32),
        "gaps": gaps,
        "weight": random.integers(0, 5, n),
        "share": random.random(n),
        "embedding": pa.array(list(rows.astype(np.float32))),
    }
    table = pa.table(columns)
    (folder / "in").mkdir()
    for index in range(3):
        part = table.slice(index * 7_000, 7_000)
        pq.write_table(part, folder / "in" / f"{index}.parquet", row_group_size=3_000)
    np.save(folder / "start.npy", rows[:4] * [1, 1, 1000])


if __name__ == "__main__":
    main()
