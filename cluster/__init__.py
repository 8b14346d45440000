"""Flink, Spark and Prism on one machine, for trying and testing the same job on real runners.

Beside them stores of objects, SeaweedFS and fake-gcs-server: `python -m cluster s3-up`, `gs-up`.

Every cluster here is made of separate processes bound to localhost, built from what the public
package registries serve (PyPI, Maven Central, the Go module proxy), and kept with its logs and
pid files in the folder `.cluster/` beside this package. Nothing here is needed to run the job
on a cluster that is already there.

    python -m cluster flink-up          # the cluster, its job-server jar and a worker pool
    python -m cluster options flink     # the options of a job for it
    python -m pipeline fit … --check    # with these options: could the job run there?
    python -m cluster flink-down
"""
