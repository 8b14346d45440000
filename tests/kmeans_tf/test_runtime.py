import os
import re
import subprocess
import sys

import numpy as np
import tensorflow as tf

import kmeans_tf
from kmeans_tf.runtime import configure


def test_tf32_is_off_and_threads_are_callers():
    configure(2)
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    assert tf.config.threading.get_intra_op_parallelism_threads() == 1
    assert tf.config.threading.get_inter_op_parallelism_threads() == 2


def test_scores_turn_tf32_off():
    """A model labels rows in processes that nothing of this package has configured."""
    enable = tf.config.experimental.enable_tensor_float_32_execution
    model = kmeans_tf.Model(
        "sqeuclidean", np.eye(2), np.arange(2, dtype=np.int32), np.zeros(2), np.ones(2)
    )
    enable(True)
    try:
        model.label(np.eye(2))
        assert not tf.config.experimental.tensor_float_32_execution_enabled()
    finally:
        enable(False)


def test_it_is_too_late_once_tensorflow_has_run():
    tf.zeros(1) + 1
    configure(7)
    assert tf.config.threading.get_inter_op_parallelism_threads() == 2


ELSEWHERE = """
import numpy as np, tensorflow as tf
from kmeans_tf import get_metric
from kmeans_tf.assign import assign, assigned_costs
from kmeans_tf.metrics import pairwise_costs
from kmeans_tf.points import Points
from kmeans_tf.step import _row_gradients

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.debugging.set_log_device_placement(True)
metric, rows = get_metric("l1"), np.eye(2)
with tf.device("CPU:1"):  # as a GPU is the device where TensorFlow sees one
    tf.square(tf.zeros(1))
    assign(metric, Points.of(rows), rows)
    assigned_costs(metric, rows, rows, np.arange(2))
    pairwise_costs(metric, rows, rows)
    _row_gradients(metric, rows, rows)
"""


def test_costs_of_other_forms_are_computed_on_the_processor():
    """So that a GPU beside it, which adds up in another order, changes no bit."""
    speaking = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, env=speaking
    )
    assert done.returncode == 0, done.stderr
    placed = set(re.findall(r"Executing op (\w+) in device \S+(CPU:\d)", done.stderr))
    assert ("Square", "CPU:1") in placed  # the log says what is elsewhere
    ours = {(op, place) for op, place in placed if op == "Sum" or "program" in op}
    assert len(ours) == 3  # costs, and a program each for labels and gradients
    assert {place for _, place in ours} == {"CPU:0"}
