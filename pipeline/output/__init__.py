"""The output folder: its files, and publishing them.

Imports `data`, `passes`, kmeans_tf, the options and the errors.
"""
