"""What workers run and write down.

Imports `data`, kmeans_tf, `pipeline.errors` and Beam, nothing above.
"""
