"""Several trials in the same reads: each k, each restart, and which of them is the answer."""

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.pipeline.answer import assert_same_answer
from tests.tables import blobs, write_shards

OPTIONS = ("--features=f0,f1,f2", "--keys=id")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    points, _ = blobs(900, 3, 5, seed=8)
    write_shards(folder / "in", points, shards=3, keys={"id": np.arange(900)}, row_group_size=90)
    return folder / "in"


@pytest.fixture(scope="module")
def several(table, fit, tmp_path_factory):
    """k = 3, 5 and 7 of two restarts each."""
    out = tmp_path_factory.mktemp("several") / "out"
    return fit(table, out, *OPTIONS, "--k=3:7:2", "--restarts=2", "--tolerance=0", "--seed=4")


def trials_of(answer):
    return pq.read_table(answer.folder / "trials.parquet").to_pylist()


def test_every_trial_is_what_it_would_be_alone(several, table, fit, tmp_path):
    rows = trials_of(several)
    assert [(row["k"], row["restart"]) for row in rows] == [
        (k, restart) for k in (3, 5, 7) for restart in (0, 1)
    ]
    for k, restart in [(3, 0), (5, 1), (7, 0)]:
        args = (f"--k={k}", f"--seed={4 + restart}", "--tolerance=0")
        alone = fit(table, tmp_path / f"{k}-{restart}", *OPTIONS, *args)
        number = next(r["trial"] for r in rows if (r["k"], r["restart"]) == (k, restart))
        mine = several.history.filter(pc.equal(several.history["trial"], number))
        assert mine["cost"].to_pylist() == alone.history["cost"].to_pylist()
        assert rows[number]["status"] == alone.run.result.status
        assert rows[number]["cost"] == pytest.approx(alone.run.result.cost, rel=1e-6)


def test_the_answer_is_that_of_the_best(several, table, fit, tmp_path):
    [chosen] = [row for row in trials_of(several) if row["chosen"]]
    assert chosen["k"] == 5  # as many as there are blobs
    assert chosen["silhouette"] == max(row["silhouette"] for row in trials_of(several))
    assert several.run.result.k == len(several.centres) == 5
    assert several.run.result.iterations == chosen["iterations"]
    alone = fit(table, tmp_path / "out", *OPTIONS, "--k=5", "--seed=4", "--tolerance=0")
    assert alone.centres.tobytes() == several.centres.tobytes()
    assert alone.table.equals(several.table)


@pytest.mark.parametrize(
    ("choose", "k"), [("cost", 7), ("davies_bouldin", 5), ("calinski_harabasz", 5)]
)
def test_it_chooses_as_asked(table, fit, tmp_path, choose, k):
    answer = fit(table, tmp_path / "out", *OPTIONS, "--k=3,5,7", f"--choose={choose}")
    assert answer.run.result.k == k


def test_how_the_table_is_cut_does_not_show(several, fit, tmp_path):
    points, _ = blobs(900, 3, 5, seed=8)
    write_shards(tmp_path / "in", points, shards=1, keys={"id": np.arange(900)})
    args = ("--k=3:7:2", "--restarts=2", "--tolerance=0", "--seed=4", "--threads=1")
    whole = fit(tmp_path / "in", tmp_path / "out", *OPTIONS, *args, "--cache_mb=0")
    assert_same_answer(whole, several)
    assert trials_of(whole) == trials_of(several)


def test_starts_that_are_given_are_filled_up_for_each(table, fit, run, tmp_path):
    np.save(tmp_path / "start.npy", np.eye(3))
    init = f"--init={tmp_path / 'start.npy'}"
    answer = fit(table, tmp_path / "out", *OPTIONS, init, "--k=4,5", "--max_iterations=2")
    assert [row["k"] for row in trials_of(answer)] == [4, 5]
    ran = run("fit", f"--input={table}", f"--output={tmp_path / 'b'}", init, "--k=3,4",
              "--restarts=2", *OPTIONS)  # fmt: skip
    assert ran.code == 2
    assert "--restarts 2: --init" in ran.stderr


def test_one_that_ran_away_is_not_chosen(table, fit, run, tmp_path):
    args = [*OPTIONS, "--optimizer=sgd", "--max_iterations=200", "--choose=cost"]
    places = [f"--input={table}", f"--output={tmp_path / 'out'}"]
    ran = run("fit", *places, *args, "--k=1,2", "--learning_rate=1")
    assert ran.code == 2
    assert "--learning_rate 1" in ran.stderr
    answer = fit(table, tmp_path / "out", *args, "--k=1,40", "--learning_rate=0.01")
    alone, many = trials_of(answer)
    assert (alone["status"], alone["cost"]) == ("diverged", np.inf)
    assert (many["status"], many["chosen"]) == ("converged", True)
