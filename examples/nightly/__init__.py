"""The job as schedulers run it every night."""
