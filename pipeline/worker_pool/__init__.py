"""Warm workers: a process of the pool imports the passes, the pool itself next to nothing."""
