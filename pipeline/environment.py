"""What must stand in a process's environment before NumPy and TensorFlow are loaded."""

import os
from collections.abc import Mapping

ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # the step has threads of its own
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


# TensorFlow then loads without Keras, which is a third of its time and 80 MB.
WITHOUT_KERAS = {"TF_USE_LEGACY_KERAS": "1"}


def prepare(variables: Mapping[str, str] = ENVIRONMENT) -> None:
    """Sets what the user has not set."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)
