"""What a user would write with FAISS: read, train on all rows, label, write."""

import json
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import rows_of


def main(
    folder: str, output: str, prototypes: str, k: str, iterations: str, start: str, kind: str
) -> None:
    """Clusters a folder of Parquet files; prints seconds and costs.

    Args:
        output, prototypes: what is written, labels and prototypes.
        start: prototypes in a file, or a seed for FAISS's own.
        kind: `Kmeans`, `SuperKMeans`, or `sample`: as it comes, on 256 rows a prototype.
    """
    clock = [time.perf_counter()]
    rows = rows_of(pq.read_table(folder))
    clock.append(time.perf_counter())
    limits = {} if kind == "sample" else {"max_points_per_centroid": len(rows)}
    make = getattr(faiss, "SuperKmeans" if kind == "SuperKMeans" else "Kmeans")
    seed = {"seed": int(start)} if start.isdigit() else {}
    kmeans = make(rows.shape[1], int(k), niter=int(iterations), **limits, **seed)
    kmeans.train(rows, init_centroids=None if seed else np.load(start))
    clock.append(time.perf_counter())
    assert kmeans.index is not None and kmeans.iteration_stats is not None  # it is trained
    costs, labels = kmeans.index.search(rows, 1)
    table = pa.table({"label": labels[:, 0], "distance": np.sqrt(costs[:, 0])})
    pq.write_table(table, Path(output), compression="zstd")
    np.save(prototypes, kmeans.centroids)
    clock.append(time.perf_counter())
    read, fit, write = np.diff(clock)
    print(
        json.dumps(
            {
                "read": read,
                "fit": fit,
                "write": write,
                "cost": float(costs.sum(dtype=np.float64)),
                "iterations": int(iterations),
                "costs": [stats["obj"] for stats in kmeans.iteration_stats],
                "splits": sum(stats["nsplit"] for stats in kmeans.iteration_stats),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
