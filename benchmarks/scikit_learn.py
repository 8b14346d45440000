"""What a user would write instead: read, KMeans, write; run as a process of its own."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.cluster import KMeans


def main(folder: str, start: str, iterations: str, output: str) -> None:
    """Clusters a folder of Parquet files from prototypes in a file; prints seconds and cost."""
    clock = [time.perf_counter()]
    table = pq.read_table(folder)
    rows = np.stack([column.to_numpy() for column in table.columns], 1)
    clock.append(time.perf_counter())
    prototypes = np.load(start)
    model = KMeans(len(prototypes), init=prototypes, n_init=1, max_iter=int(iterations), tol=0).fit(
        rows
    )
    clock.append(time.perf_counter())
    pq.write_table(pa.table({"label": model.labels_}), Path(output), compression="zstd")
    clock.append(time.perf_counter())
    read, fit, write = np.diff(clock)
    print(
        json.dumps(
            {
                "read": read,
                "fit": fit,
                "write": write,
                "iterations": model.n_iter_,
                "cost": float(model.inertia_),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
