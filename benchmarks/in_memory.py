"""`kmeans_tf.fit` on rows in memory, as a notebook would call it."""

import json
import sys
import time

import numpy as np
import pyarrow.parquet as pq

import kmeans_tf
from kmeans_tf.runtime import load


def main(folder: str, start: str, iterations: str) -> None:
    """Clusters a folder of Parquet files from prototypes in a file; prints seconds and cost."""
    table = pq.read_table(folder)
    rows = np.stack([column.to_numpy() for column in table.columns], 1)
    prototypes = np.load(start)
    options = kmeans_tf.TrainingOptions(tolerance=0.0, max_iterations=int(iterations))
    load()
    begin = time.perf_counter()
    _, state = kmeans_tf.fit(rows, len(prototypes), init=prototypes, options=options)
    seconds = time.perf_counter() - begin
    print(json.dumps({"fit": seconds, "iterations": state.iteration}))


if __name__ == "__main__":
    main(*sys.argv[1:])
