"""A job that is killed, wherever that is, and run again: the same bits, and nothing left over."""

import random
import signal

import pytest

from tests.pipeline.answer import contents

KILLS, SEEDS = 25, (1, 2)
FIT = (
    *("--features=f0,f1", "--k=3", "--keys=id", "--optimizer=sgd", "--learning_rate=1e-5"),
    *("--tolerance=0", "--max_iterations=9", "--iterations_per_job=3", "--stage=always"),
)
TIMES = ("run.json", "report.html")  # tell how long it took
SAME_BYTES = ("model/variables/variables.data-00000-of-00001", "model/settings.json", "_SUCCESS")


def answer(folder):
    """What is in an output, but for what tells times or is TensorFlow's to name."""
    files = contents(folder)
    names = [name for name in files if not name.startswith("model/") or name in SAME_BYTES]
    return {name: files[name] for name in names if name not in TIMES}, {*files}


def moments(seconds, count, seed):
    """Moments from the start of a process to its end, one in each of as many parts of it."""
    rng = random.Random(seed)
    return [seconds * (i + rng.random()) / count for i in range(count)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fit_that_is_killed_at_any_moment_ends_at_the_same_bits(
    nursery, three_blobs, tmp_path, seed
):
    def fit(output, **kill):
        return nursery.run(
            "fit", f"--input={three_blobs.folder}", f"--output={output}", *FIT, **kill
        )

    whole = fit(tmp_path / "whole")
    assert whole.code == 0, whole.stderr
    expected = answer(tmp_path / "whole")
    seconds = fit(tmp_path / "again").seconds
    killed, told = 0, []
    for number, moment in enumerate(moments(seconds, KILLS, seed)):
        output = tmp_path / f"{number}"
        first = fit(output, kill_after=moment)
        assert first.code in (0, -signal.SIGKILL), first.stderr
        killed += first.code != 0
        if first.code == 0:
            told.append("done")
            assert fit(output).code == 2, "it is finished"
        else:
            second = fit(output)
            assert second.code == 0, f"killed after {moment:.3f} s: {second.stderr}"
            told.append("resuming" if "resuming" in second.stderr else "other")
        assert answer(output) == expected, f"killed after {moment:.3f} s"
    assert killed > KILLS // 2, "the premise"
    assert {"resuming", "other"} <= {*told}, "the premise"
