"""Jobs that are killed again and again, and `label`, which has no checkpoints of its own."""

import random
import signal

import pytest

from tests.crashes.test_kills import FIT, answer, moments


@pytest.mark.parametrize("seed", range(6))
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
