"""K-means by gradients: the mathematics, in TensorFlow and NumPy; no Beam, no file format."""

from kmeans_tf.estimator import KMeans
from kmeans_tf.local import fit
from kmeans_tf.metrics import METRICS, Metric, get_metric, min_distance_cost
from kmeans_tf.model import Model
from kmeans_tf.state import TrainingOptions, TrainingState, Trial

__version__ = "0.1.0"

__all__ = [
    "METRICS",
    "KMeans",
    "Metric",
    "Model",
    "TrainingOptions",
    "TrainingState",
    "Trial",
    "fit",
    "get_metric",
    "min_distance_cost",
]
