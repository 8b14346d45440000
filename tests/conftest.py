"""Settings of a test process; those of TensorFlow must be made before it is imported."""

import os

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.runner_cases", "tests.pipeline.answer")

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

hypothesis.settings.register_profile("project", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("project")


def pytest_configure(config):
    # Tests that share something dear go to one process: see --dist loadgroup in the Makefile.
    config.addinivalue_line("markers", "xdist_group(name): tests of a group share a process")
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # the process that hands out the tests runs none and can do without TensorFlow
    from kmeans_tf.runtime import configure

    configure(2)


@pytest.fixture(autouse=True, scope="session")
def unsettled():
    """No job waits for its disk: none of their machines ends suddenly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
