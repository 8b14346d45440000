"""The run that the project began from, three times: as printed, as written then, and by the job.

A blog post on k-means in TensorFlow clustered 500 points by gradient descent on Bottou and
Bengio's cost and printed that cost as it went. Here its figures stand beside its own expression,
run in today's TensorFlow, and beside the job with the same data, start and optimizer.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import make_blobs

from examples import command
from kmeans_tf.notices import native_notices_hidden

OUT = Path("out/seed")
START_ROWS = [162, 308, 381]
LEARNING_RATE = 0.001
ITERATIONS = 101
PRINTED = {
    0: 21533.69140625,
    10: 950.78369140625,
    20: 940.453369140625,
    30: 940.4503784179688,
    40: 940.450439453125,
    50: 940.450439453125,
    60: 940.450439453125,
    70: 940.450439453125,
    80: 940.450439453125,
    90: 940.450439453125,
    100: 940.450439453125,
}


def main() -> None:
    """The example as `make seed` runs it."""
    points = seed_points()
    history = run_job(points, OUT)
    with native_notices_hidden():
        from examples.literal import literal_costs

        literal = literal_costs(points, points[START_ROWS], LEARNING_RATE, ITERATIONS)
    print(f"\n{format_table(literal, job_costs(history))}")
    print(f"\nThe job was done after {len(history)} iterations: from there on its cost holds.")
    draw(points, OUT)
    print(f"picture:  {OUT}/seed.png")
    print(f"report:   {OUT}/result/report.html")


def seed_points() -> np.ndarray:
    """The post's data, (500, 2) float32."""
    points, _ = make_blobs(500, random_state=1111)
    return points.astype(np.float32)


def run_job(points: np.ndarray, folder: Path) -> np.ndarray:
    """Runs the job below the folder; its history of costs, each from before an update."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"x": points[:, 0], "y": points[:, 1]})
    pq.write_table(table, folder / "points.parquet")
    np.save(folder / "start.npy", points[START_ROWS])
    command.run(
        *("fit", "--input", f"{folder}/points.parquet", "--output", f"{folder}/result"),
        *("--init", f"{folder}/start.npy", "--optimizer", "sgd"),
        *("--learning_rate", f"{LEARNING_RATE}", "--reduction", "sum"),
        *("--tolerance", "0", "--max_iterations", f"{ITERATIONS + 1}", "--overwrite"),
    )
    return pq.read_table(folder / "result/history.parquet")["cost"].to_numpy()


def job_costs(history: np.ndarray) -> np.ndarray:
    """(101,) costs after each update, as the post prints them.

    The history holds the cost that an iteration started with: the one after update i is that
    which iteration i + 1 started with. A job that is done has no more; its last cost holds.
    """
    after = history[1:]
    return np.pad(after, (0, ITERATIONS - len(after)), mode="edge")


def format_table(literal: np.ndarray, job: np.ndarray) -> str:
    """The three runs side by side, at the iterations that the post prints."""
    heads = ("the post printed", "its expression, now", "this job")
    lines = ["iteration" + "".join(f"{head:>22}" for head in heads)]
    for i, printed in PRINTED.items():
        lines.append(f"{i:9}" + "".join(f"{c:22.8f}" for c in (printed, literal[i], job[i])))
    return "\n".join(lines)


def draw(points: np.ndarray, folder: Path) -> None:
    """Draws the points before and after, the prototypes circled in red."""
    prototypes = pq.read_table(folder / "result/prototypes.parquet")
    labels = pq.read_table(folder / "result/labels").sort_by("row")["label"].to_numpy()
    learned = np.stack([prototypes["x"].to_numpy(), prototypes["y"].to_numpy()], 1)
    figure = Figure(figsize=(8, 6.2), layout="constrained")
    before, after = figure.subplots(1, 2, sharex=True, sharey=True)
    before.scatter(*points.T, c="k", lw=0, s=22, label="data")
    after.scatter(*points.T, c=labels, lw=0, s=22, cmap="Greys_r", vmax=3.5, label="data")
    _circle(before, points[START_ROWS], "Before: three rows as prototypes")
    _circle(after, learned, "After: shaded by prototype")
    figure.savefig(folder / "seed.png", dpi=110)


def _circle(axes: Axes, prototypes: np.ndarray, title: str) -> None:
    x, y = prototypes.T
    axes.scatter(x, y, c="none", s=110, edgecolor="r", lw=2, label="prototypes")
    axes.set_title(title, fontsize=12)
    axes.set_aspect("equal")
    axes.legend(scatterpoints=3, handlelength=4)


if __name__ == "__main__":
    main()
