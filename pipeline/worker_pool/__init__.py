"""Warm workers: a process of the pool imports the passes, the pool itself next to nothing.

Besides these it imports `pipeline.environment`, `runners.identity` and what the user is told by.
"""
