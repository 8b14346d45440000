"""Small real inputs and what the job makes of them: `make run` and `make seed`."""
