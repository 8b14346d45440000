"""The job: the driver and the user's words lie here, everything else in rooms.

`data` knows no Beam; `passes` imports `data`; `output`, `runners` and `worker_pool` stand above
these, and the driver above all. The mathematics is in kmeans_tf, which imports nothing of this
package.
"""
