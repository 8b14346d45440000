"""The job: Beam, Parquet, options, checkpoints, publishing; the mathematics is in kmeans_tf."""
