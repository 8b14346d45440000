"""`kmeans_tf.fit` on rows in memory, as a notebook would call it."""

import json
import sys
import time

import numpy as np
import pyarrow.parquet as pq

import kmeans_tf
from benchmarks.data import rows_of
from kmeans_tf.runtime import load


def main(folder: str, output: str, start: str, iterations: str) -> None:
    """Clusters a folder of Parquet files from prototypes in a file; prints seconds.

    Args:
        output: where the prototypes are written that it ends with.
    """
    rows = rows_of(pq.read_table(folder))
    prototypes = np.load(start)
    options = kmeans_tf.TrainingOptions(tolerance=0.0, max_iterations=int(iterations))
    load()
    begin = time.perf_counter()
    model, state = kmeans_tf.fit(rows, len(prototypes), init=prototypes, options=options)
    seconds = time.perf_counter() - begin
    np.save(output, model.prototypes)
    print(json.dumps({"fit": seconds, "iterations": state.iteration}))


if __name__ == "__main__":
    main(*sys.argv[1:])
