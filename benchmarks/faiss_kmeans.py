"""What a user would write with FAISS: read, train on all rows, label, write."""

import json
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def main(folder: str, start: str, iterations: str, output: str) -> None:
    """Clusters a folder of Parquet files from prototypes in a file; prints seconds and cost."""
    clock = [time.perf_counter()]
    rows = _rows(pq.read_table(folder))
    clock.append(time.perf_counter())
    prototypes = np.load(start)
    k, d = prototypes.shape
    kmeans = faiss.Kmeans(d, k, niter=int(iterations), max_points_per_centroid=len(rows))
    kmeans.train(rows, init_centroids=prototypes)
    clock.append(time.perf_counter())
    costs, labels = kmeans.index.search(rows, 1)
    table = pa.table({"label": labels[:, 0], "distance": np.sqrt(costs[:, 0])})
    pq.write_table(table, Path(output), compression="zstd")
    clock.append(time.perf_counter())
    read, fit, write = np.diff(clock)
    cost = float(costs.sum(dtype=np.float64))
    print(json.dumps({"read": read, "fit": fit, "write": write, "cost": cost}))


def _rows(table: pa.Table) -> np.ndarray:
    """(n, d) float32 of columns of numbers, or of one column of lists."""
    if table.num_columns > 1:
        return np.stack([column.to_numpy() for column in table.columns], 1)
    lists = table.column(0).combine_chunks()
    return lists.flatten().to_numpy().reshape(len(lists), -1)


if __name__ == "__main__":
    main(*sys.argv[1:])
