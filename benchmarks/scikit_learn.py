"""What a user would write with scikit-learn, perhaps patched with oneDAL: read, fit, write."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import rows_of


def main(
    folder: str, output: str, prototypes: str, start: str, iterations: str, patch: str
) -> None:
    """Clusters a folder of Parquet files from prototypes in a file; prints seconds and cost.

    Args:
        output, prototypes: what is written, labels and prototypes.
        patch: `oneDAL` or `none`.
    """
    if patch == "oneDAL":
        from sklearnex import patch_sklearn

        patch_sklearn(verbose=False)
    from sklearn.cluster import KMeans

    clock = [time.perf_counter()]
    rows = rows_of(pq.read_table(folder))
    clock.append(time.perf_counter())
    first = np.load(start)
    model = KMeans(len(first), init=first, n_init=1, max_iter=int(iterations), tol=0)
    model.fit(rows)
    clock.append(time.perf_counter())
    pq.write_table(pa.table({"label": model.labels_}), Path(output), compression="zstd")
    np.save(prototypes, model.cluster_centers_)
    clock.append(time.perf_counter())
    read, fit, write = np.diff(clock)
    print(
        json.dumps(
            {
                "read": read,
                "fit": fit,
                "write": write,
                "iterations": int(model.n_iter_),
                "cost": float(model.inertia_),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
