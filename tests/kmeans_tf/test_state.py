import dataclasses

import numpy as np
import pytest

from kmeans_tf import TrainingOptions, TrainingState, Trial
from kmeans_tf.sample import MIN_ROWS
from kmeans_tf.state import CONVERGED, MAX_ITERATIONS, RUNNING, Draw, Oversampling, Proof


def test_a_state_is_done_when_no_trial_runs():
    running = Trial.start(np.zeros((2, 1)))
    done = Trial(np.zeros((2, 1)), np.arange(2, dtype=np.int32), status=CONVERGED)
    state = TrainingState((done, running))
    assert not state.done
    assert state.running() == {1: running}
    assert state.with_trials({1: done}).done
    assert not state.done


def test_labels_are_numbers_of_their_own():
    assert Trial.start(np.zeros((3, 1))).labels.tolist() == [0, 1, 2]
    kept = np.array([7, 2, 9], np.int32)
    assert Trial.start(np.zeros((3, 1)), kept).labels is kept


def test_points_are_drawn_while_a_start_needs_them():
    trial = Trial.start(np.zeros((2, 3)))
    assert trial.draw is None
    unproven = dataclasses.replace(trial, proof=Proof(7, 4, 1.0))
    assert unproven.draw == Draw(7, MIN_ROWS // 4)
    proven = dataclasses.replace(unproven.proof, open=False)
    assert dataclasses.replace(trial, proof=proven).draw is None
    growing = dataclasses.replace(trial, oversampling=Oversampling(7, 5, draws=2))
    assert growing.draw == Draw(9, 10)  # another seed each time


def test_where_no_cost_tells_only_the_iterations_stop_it():
    options = TrainingOptions(max_iterations=2)
    for costs, status in (((1.0,), RUNNING), ((1.0, 1.0), MAX_ITERATIONS)):
        trial = dataclasses.replace(Trial.start(np.zeros((2, 3))), costs=costs, status=CONVERGED)
        assert trial.stopped(options) == status


@pytest.mark.parametrize(
    "change, message",
    [
        ({"optimizer": "newton"}, "unknown optimizer 'newton': expected one of lloyd, sgd, adam"),
        ({"reduction": "max"}, "unknown reduction 'max': expected one of sum, mean"),
        ({"optimizer": "sgd"}, "sgd needs a learning_rate above 0, not 0.0"),
        ({"optimizer": "adam", "learning_rate": -1.0}, "adam needs a learning_rate above 0"),
        ({"optimizer": "adam", "learning_rate": np.nan}, "adam needs a learning_rate above 0"),
        ({"metric": "l1"}, "lloyd cannot minimise metric 'l1': use adam"),
        ({"metric": "tests.user_metrics:pseudo_huber"}, "lloyd cannot minimise .*: use adam"),
        ({"metric": "l2"}, "unknown metric 'l2'"),
        ({"tolerance": -1e-4}, "numbers from 0"),
        ({"tolerance": np.nan}, "numbers from 0"),
        ({"max_iterations": -1}, "numbers from 0"),
    ],
)
def test_options_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**change)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine", "l1"])
@pytest.mark.parametrize("optimizer", ["lloyd", "sgd", "adam"])
def test_every_metric_goes_with_every_optimizer_but_lloyd_with_l1(metric, optimizer):
    if (metric, optimizer) == ("l1", "lloyd"):
        pytest.skip("checked above")
    rate = 0.0 if optimizer == "lloyd" else 0.1
    assert TrainingOptions(metric, optimizer, rate).metric == metric
