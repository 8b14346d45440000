"""What an earlier version of the job has left is still read.

`tests/earlier_version` holds a table of 60 rows about three places, twenty each in the order of
`customer`, and the output of the version before the report had tables of its own:
`fit --input customers.parquet --output output --k 3 --keys customer --scale standard`, without its
report.html.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kmeans_tf import KMeans
from tests.pipeline.answer import Answer

FOLDER = Path(__file__).resolve().parents[2] / "earlier_version"
TABLE = FOLDER / "customers.parquet"
KEYS = ("--keys=customer",)


@pytest.fixture
def earlier(tmp_path):
    """The output, whose labels are those of the places."""
    answer = Answer(shutil.copytree(FOLDER / "output", tmp_path / "earlier"))
    labels = answer.labels.reshape(3, 20)
    assert (labels == labels[:, :1]).all()
    assert set(labels[:, 0]) == {0, 1, 2}
    return answer


def test_it_labels(fit, earlier, tmp_path):
    answer = fit(TABLE, tmp_path / "out", *KEYS, f"--model={earlier.folder}", command="label")
    assert answer.table.equals(earlier.table)
    assert answer.run.compared.run_id == earlier.run.run_id


def test_its_clusters_keep_their_labels(fit, earlier, tmp_path):
    table = pq.read_table(TABLE)
    turned = table.take(np.arange(60)[::-1])
    pq.write_table(turned, tmp_path / "turned.parquet")
    for option, seed in (("match", 5), ("init", 0)):
        args = (*KEYS, "--k=3", "--scale=standard", f"--seed={seed}")
        place = f"--{option}={earlier.folder}"
        answer = fit(tmp_path / "turned.parquet", tmp_path / option, *args, place)
        assert answer.labels.tolist() == earlier.labels[::-1].tolist()
        assert answer.run.match.moved_share == 0.0


def test_its_report_is_drawn(run, earlier):
    ran = run("report", earlier.folder)
    assert (ran.code, ran.stderr) == (0, f"wrote {earlier.folder}/report.html\n")
    assert "<h1>3 clusters of 60 rows</h1>" in (earlier.folder / "report.html").read_text()


def test_a_notebook_loads_it(earlier):
    rows = pq.read_table(TABLE).select(["orders", "basket"])
    assert KMeans.load(earlier.folder).predict(rows).tolist() == earlier.labels.tolist()
