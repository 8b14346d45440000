"""The whole job beside Spark's MLlib in one JVM of two threads, with Java's vectors for its BLAS.

MLlib begins from random rows, for it takes no prototypes; the iterations are as many.
"""

import statistics
import sys

from benchmarks.data import OUT, Case, make
from benchmarks.processes import held, run, table
from benchmarks.run_fit import run_fit
from cluster.build import pip_package, require
from cluster.home import HOME
from cluster.spark import SPARK_PACKAGE

CASE = Case(2_000_000, 16, 64, 4)
ITERATIONS, REPEATS = 20, 3
_MEMORY = "8g"
_VECTORS = "--add-modules=jdk.incubator.vector"
_BAR = 4.0


def measure() -> str:
    """Runs both in turn and returns a table of medians."""
    require("java", "Spark needs it")
    runs = [
        (run_fit(CASE, OUT / "job", ITERATIONS).seconds, _mllib_seconds()) for _ in range(REPEATS)
    ]
    ours, theirs = map(statistics.median, zip(*runs, strict=True))
    header = ("table", "iterations", "kmeans-tf, whole, s", "MLlib, whole, s", "by kmeans-tf")
    row = (CASE.name, f"{ITERATIONS}", f"{ours:.1f}", f"{theirs:.1f}")
    return table(header, [(*row, held(theirs / ours, least=_BAR))])


def _mllib_seconds() -> float:
    spark = pip_package(SPARK_PACKAGE, HOME / "spark-dist") / "pyspark"
    submit = [str(spark / "bin" / "spark-submit"), "--master", "local[2]"]
    submit += ["--driver-memory", _MEMORY, "--driver-java-options", _VECTORS]
    words = (make(CASE).absolute(), (OUT / "mllib").absolute(), CASE.k, ITERATIONS)
    variables = {"SPARK_HOME": str(spark), "PYSPARK_PYTHON": sys.executable}
    return run(
        [*submit, "benchmarks/mllib_kmeans.py", *map(str, words)], variables=variables
    ).seconds
