"""What a user would write with Spark's MLlib, on one machine: read, fit, label, write."""

import sys

import numpy as np
from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession


def main(folder: str, output: str, k: str, iterations: str) -> None:
    """Clusters a folder of Parquet files; prints nothing."""
    spark = SparkSession.builder.getOrCreate()
    table = spark.read.parquet(folder)
    rows = VectorAssembler(inputCols=table.columns, outputCol="features").transform(table)
    rows = rows.select("features").cache()
    kmeans = KMeans(k=int(k), maxIter=int(iterations), tol=0.0, initMode="random", seed=1)
    model = kmeans.fit(rows)
    model.transform(rows).select("prediction").write.mode("overwrite").parquet(output)
    np.save(f"{output}.npy", np.array(model.clusterCenters()))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
