"""A job that is killed, wherever that is, and run again: the same bits, and nothing left over."""

import random
import signal

import pytest

from tests.pipeline.answer import contents

KILLS = 50
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


def test_a_fit_that_is_killed_at_any_moment_ends_at_the_same_bits(nursery, three_blobs, tmp_path):
    def fit(output, **kill):
        return nursery.run(
            "fit", f"--input={three_blobs.folder}", f"--output={output}", *FIT, **kill
        )

    whole = fit(tmp_path / "whole")
    assert whole.code == 0, whole.stderr
    expected = answer(tmp_path / "whole")
    seconds = fit(tmp_path / "again").seconds
    killed, told = 0, []
    for number, moment in enumerate(moments(seconds, KILLS, seed=1)):
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


@pytest.mark.parametrize("seed", range(8))
def test_one_that_is_killed_again_and_again_gets_there(nursery, three_blobs, tmp_path, seed):
    """Each attempt lives a little longer, so that it must get somewhere."""
    args = ("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}", *FIT)
    reference = nursery.run(*args[:2], f"--output={tmp_path / 'whole'}", *FIT)
    rng, attempts, ended = random.Random(seed), 0, None
    while ended is None or ended.code == -signal.SIGKILL:
        attempts += 1
        limit = reference.seconds * (rng.uniform(0.2, 0.5) + 0.1 * attempts)
        ended = nursery.run(*args, kill_after=limit)
    if ended.code == 2:  # it was killed as it had done everything but say so
        assert "holds a finished output" in ended.stderr
    else:
        assert ended.code == 0, ended.stderr
    assert answer(tmp_path / "out") == answer(tmp_path / "whole")


def test_a_label_that_is_killed_at_any_moment_ends_at_the_same_bits(nursery, three_blobs, tmp_path):
    model = tmp_path / "model"
    made = nursery.run(
        "fit", f"--input={three_blobs.folder}", f"--output={model}", *FIT[:3], "--max_iterations=1"
    )
    assert made.code == 0, made.stderr

    def label(output, **kill):
        places = (f"--input={three_blobs.folder}", f"--output={output}")
        return nursery.run("label", *places, f"--model={model}", "--keys=id", **kill)

    whole = label(tmp_path / "whole")
    assert whole.code == 0, whole.stderr
    expected = answer(tmp_path / "whole")
    for number, moment in enumerate(moments(whole.seconds, 12, seed=2)):
        output = tmp_path / f"{number}"
        first = label(output, kill_after=moment)
        second = label(output)
        assert second.code == (2 if first.code == 0 else 0), second.stderr
        assert answer(output) == expected
