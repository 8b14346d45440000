"""What a training did, for TensorBoard: cost, sizes, and the prototypes for its projector."""

import posixpath

from kmeans_tf.runtime import tf
from pipeline.output.profile import Values
from pipeline.output.tables import Tables

_SCALAR = 1  # of TensorBoard's data classes
_PROJECTOR = """embeddings {
  tensor_name: "prototypes"
  tensor_path: "prototypes.tsv"
  metadata_path: "labels.tsv"
}
"""


def write_tensorboard(folder: str, tables: Tables) -> None:
    """Writes `cost` by iteration and trial, the rows of each cluster as `rows`, and the embedding.

    The prototypes are a tensor of the events, and a table for the projector, each in the input's
    units, with labels and rows.
    """
    values, history = Values.of(tables.prototypes), tables.history
    trials = len(history["trial"].unique())
    with tf.summary.create_file_writer(folder).as_default():
        columns = (history[name].to_pylist() for name in ("trial", "iteration", "cost"))
        for trial, step, cost in zip(*columns, strict=True):
            _scalar(f"cost/{trial}" if trials > 1 else "cost", cost, step)
        for label, rows in zip(values.labels, values.rows, strict=True):
            _scalar(f"rows/{label}", rows, history.num_rows)
        tf.summary.write("prototypes", tf.constant(values.values), history.num_rows)
    named = zip(values.labels, values.rows, strict=True)
    lines = ["label\trows", *(f"{label}\t{rows}" for label, rows in named)]
    points = ["\t".join(map(repr, row)) for row in values.values.tolist()]
    for name, text in (
        ("projector_config.pbtxt", _PROJECTOR),
        ("labels.tsv", "\n".join(lines) + "\n"),
        ("prototypes.tsv", "\n".join(points) + "\n"),
    ):
        with tf.io.gfile.GFile(posixpath.join(folder, name), "w") as file:
            file.write(text)


def _scalar(tag: str, value: float, step: int) -> None:
    """What tf.summary.scalar writes, which asks for TensorBoard to be installed."""
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "scalars"
    metadata.data_class = _SCALAR
    tf.summary.write(tag, tf.constant(value, tf.float32), step, metadata)
