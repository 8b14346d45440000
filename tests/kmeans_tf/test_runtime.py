import tensorflow as tf

from kmeans_tf.runtime import configure


def test_tf32_is_off_and_threads_are_callers():
    configure(2)
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    assert tf.config.threading.get_intra_op_parallelism_threads() == 1
    assert tf.config.threading.get_inter_op_parallelism_threads() == 2


def test_it_is_too_late_once_tensorflow_has_run():
    tf.zeros(1) + 1
    configure(7)
    assert tf.config.threading.get_inter_op_parallelism_threads() == 2
