"""The post's own expression and gradient descent, in float32, as today's TensorFlow runs them."""

import numpy as np
import tensorflow as tf


def literal_cost(points: tf.Tensor, prototypes: tf.Variable) -> tf.Tensor:
    """The cost as the post writes it: every point beside every prototype, (n, d, k)."""
    k = prototypes.shape[0]
    x = tf.concat(k * [tf.expand_dims(points, 2)], 2)
    w = tf.transpose(tf.expand_dims(prototypes, 2), [2, 1, 0])
    distances = tf.reduce_sum((x - w) ** 2, 1)
    return tf.reduce_sum(tf.reduce_min(distances, 1))


def literal_costs(
    points: np.ndarray, start: np.ndarray, learning_rate: float, iterations: int
) -> np.ndarray:
    """(iterations,) costs, each after an update of the prototypes (k, d) on points (n, d)."""
    x, w = tf.constant(points), tf.Variable(start)
    costs = []
    for _ in range(iterations):
        with tf.GradientTape() as tape:
            cost = literal_cost(x, w)
        w.assign_sub(learning_rate * tape.gradient(cost, w))
        costs.append(literal_cost(x, w).numpy())
    return np.array(costs, np.float64)
