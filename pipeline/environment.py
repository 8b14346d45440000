"""What must stand in a process's environment before NumPy and TensorFlow are loaded."""

import os

ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # the step has threads of its own
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


def prepare() -> None:
    """Sets what the user has not set."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
