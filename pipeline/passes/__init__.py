"""What workers run and write down; imports `pipeline.data`, kmeans_tf and Beam, nothing above."""
