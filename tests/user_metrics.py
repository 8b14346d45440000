"""Metrics as a user would write them, named by `tests.user_metrics:function`."""

import tensorflow as tf


def pseudo_huber(points, prototypes):
    """Like the squared distance near a prototype, like l1 far from it."""
    return tf.reduce_sum(tf.sqrt(1.0 + tf.square(points - prototypes)) - 1.0, 1)


pseudo_huber.gradient_bound = 1.0


def steep(points, prototypes):
    """Breaks the bound that it states."""
    return 3.0 * tf.reduce_sum(tf.abs(points - prototypes), 1)


steep.gradient_bound = 2.0


def undefined(points, prototypes):
    """Has no cost."""
    return tf.math.log(-tf.reduce_sum(tf.square(points - prototypes), 1) - 1.0)


not_a_function = 3
