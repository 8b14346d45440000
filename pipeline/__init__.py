"""The job, in rooms; what all of them need lies here.

`data` knows no Beam; `passes` imports `data`; `output`, `nights`, `runners` and `worker_pool` stand
above these, and `driver` above all. `command_line` is what the user asks for. The mathematics is in
kmeans_tf, which imports nothing of this package.
"""
