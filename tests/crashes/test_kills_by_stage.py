"""A job of several trials, matched to an earlier night and held to gates, killed in every stage."""

import json
import random
import signal

import pytest

from tests.crashes.test_kills import answer
from tests.pipeline.answer import contents

TABLE = ("--features=f0,f1", "--keys=id")
OPTIONS = (
    *("--optimizer=sgd", "--learning_rate=1e-5", "--tolerance=0", "--max_iterations=4"),
    *("--iterations_per_job=2", "--k=2:4:2", "--restarts=2", "--choose=silhouette"),
)
OPEN, SHUT = "--gate=moved_share<=1", "--gate=smallest_cluster>=1000000"
# What is there by then, in the order in which it comes.
STAGES = {
    "figures": "_work/*/state/000004",
    "figures found": "_work/*/figures",
    "label": "_work/*/labels/.part*",
    "labelled": "_work/*/manifest",
    "moved": "_work/*/moved/*",
    "moved found": "_work/*/moved/found",
    "results": "_work/*/report.html",
    "publishing": "_publishing",
    "published in part": "labels/*",
    "published": "_SUCCESS",
}
TOLD = ("digests", "gates", "match", "result")  # of run.json
LONGEST_SECONDS = 0.02


@pytest.fixture(scope="module")
def fit(nursery, three_blobs, tmp_path_factory):
    """fit(output, *options, **kill): the job, matched to a night of fewer iterations."""
    place, night = f"--input={three_blobs.folder}", tmp_path_factory.mktemp("night") / "out"
    made = nursery.run("fit", place, f"--output={night}", *TABLE, "--k=3", "--max_iterations=1")
    assert made.code == 0, made.stderr

    def run(output, *options, **kill):
        places = (place, f"--output={output}", f"--match={night}")
        return nursery.run("fit", *places, *TABLE, *OPTIONS, *options, **kill)

    return run


@pytest.fixture(scope="module")
def whole(fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "out"
    ended = fit(folder, OPEN)
    assert ended.code == 0, ended.stderr
    assert "chosen: trial" in ended.stderr, "the premise"
    assert told(folder)["match"]["moved_share"] is not None, "the premise"
    return folder


def told(folder):
    record = json.loads((folder / "run.json").read_text())
    return {name: record[name] for name in TOLD}


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_that_is_killed_in_a_stage_ends_at_the_same_bits(fit, whole, tmp_path, stage):
    output, moment = tmp_path / "out", random.Random(stage).uniform(0, LONGEST_SECONDS)
    first = fit(output, OPEN, kill_after=moment, since=(output, STAGES[stage]))
    is_done = (output / "_SUCCESS").exists() and not (output / "_publishing").exists()
    assert first.code == -signal.SIGKILL or is_done, first.stderr
    assert stage.startswith("publish") or not is_done
    second = fit(output, OPEN)
    assert second.code == (2 if is_done else 0), second.stderr
    assert "scan: " not in second.stderr, "what was done is not done again"
    assert answer(output) == answer(whole)
    assert told(output) == told(whole)


@pytest.mark.parametrize("moment", [0.0, 0.002])
def test_one_that_is_killed_while_it_is_refused_is_refused(fit, whole, tmp_path, moment):
    output = tmp_path / "out"
    first = fit(output, SHUT, kill_after=moment, since=(output, "_rejected"))
    assert first.code in (-signal.SIGKILL, 4), first.stderr
    second = fit(output, SHUT)
    assert second.code == 4, second.stderr
    assert {*contents(output / "_rejected")} == {*contents(whole)} - {"_SUCCESS"}
    assert not (output / "_SUCCESS").exists()
    third = fit(output, OPEN)
    assert third.code == 0, third.stderr
    assert "scan: " not in third.stderr, "what was trained stays"
    assert answer(output) == answer(whole)
