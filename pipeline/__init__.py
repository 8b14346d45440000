"""The job: the driver and the user's words lie here, everything else in rooms.

`data` knows no Beam; `passes` may import `data`; `runners`, `output` and the driver stand above
them. The mathematics is in kmeans_tf, which imports nothing of this package.
"""
