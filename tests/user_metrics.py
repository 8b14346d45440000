"""Metrics as a user would write them, named by `tests.user_metrics:function`."""

import dataclasses
import functools
import threading

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


# Metrics that are no plain functions


def power(points, prototypes, exponent):
    return tf.reduce_sum(tf.abs(points - prototypes) ** exponent, 1)


class Power:
    """An object that is called, with a method that is a metric too."""

    def __init__(self, exponent):
        self.exponent = exponent

    def __call__(self, points, prototypes):
        return power(points, prototypes, self.exponent)

    def cost(self, points, prototypes):
        return self(points, prototypes)


@dataclasses.dataclass
class Weighted:
    """One without a hash, and with a bound."""

    weights: list
    gradient_bound: float = 2.0

    def __call__(self, points, prototypes):
        return tf.reduce_sum(tf.abs(points - prototypes), 1) * self.weights[0]


def raised_to(exponent):
    def raised(points, prototypes):
        return power(points, prototypes, exponent)

    return raised


class Locked(Power):
    """One whose content cannot be known."""

    def __init__(self, exponent):
        super().__init__(exponent)
        self.lock = threading.Lock()


partial_power = functools.partial(power, exponent=1.75)
lambda_power = lambda points, prototypes: power(points, prototypes, 1.75)  # noqa: E731
closed_power = raised_to(1.75)
graph_power = tf.function(closed_power)
called_power = Power(1.75)
method_power = called_power.cost
weighted_l1 = Weighted([1.5])
locked_power = Locked(1.75)


class Silent:
    """Fails without a word, and has no name."""

    error: type[BaseException] = AssertionError

    def __call__(self, points, prototypes):
        raise self.error


silent = Silent()
boundless = functools.partial(power, exponent=2.0)
boundless.gradient_bound = "none"
