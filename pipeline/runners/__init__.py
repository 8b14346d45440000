"""How and where Beam's jobs run.

Imports the store, the work folder and the counters of the passes, and what the user is told by.
"""
