"""How and where TensorFlow runs in a worker process."""

import contextlib

import tensorflow as tf


def on_processor() -> contextlib.AbstractContextManager[None]:
    """Where costs whose last bits count are computed: a GPU adds up in another order."""
    return tf.device("CPU:0")


def full_precision() -> None:
    """Turns TF32 off: what scores prove rests on float32 products."""
    tf.config.experimental.enable_tensor_float_32_execution(False)


def configure(threads: int) -> None:
    """Lets `threads` Python threads each run their own ops, single-threaded; TF32 is off.

    Two callers with one thread each are twice as fast on a step as one caller with two. It has
    no effect once TensorFlow has run something in this process.
    """
    full_precision()
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
