"""A step with a memo adds what a step without one does, to the bit."""

import copy
import functools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kmeans_tf import TrainingState, Trial, assign, get_metric, scoring
from kmeans_tf import memo as memo_module
from kmeans_tf.memo import Memo
from kmeans_tf.points import Points
from kmeans_tf.projected import Projected
from kmeans_tf.step import cluster_stats, step
from tests.kmeans_tf.adversaries import ADVERSARIES, case_of
from tests.kmeans_tf.build import chunks_of, layout_of
from tests.tables import blobs

SQEUCLIDEAN = get_metric("sqeuclidean")
_in_blocks = functools.cache(scoring._made.__wrapped__)  # programs that others shall not get
memos = pytest.mark.parametrize(
    "bounds, sums", [(True, True), (True, False), (False, True), (False, False)]
)


@pytest.fixture(autouse=True)
def sums_of_any_size(monkeypatch):
    """The chunks of tests are small beside their sums."""
    monkeypatch.setattr(memo_module, "_SUMS_SHARE", 1e9)


@pytest.fixture
def few_are_many(monkeypatch):
    """A few points are scored, a few at a time against a few prototypes."""
    monkeypatch.setattr(assign, "_FEW", 0)
    monkeypatch.setattr(scoring, "_MANY", 9)
    monkeypatch.setattr(scoring, "_TILE_SCORES", 0)
    monkeypatch.setattr(scoring, "_LEAST_TILE", 8)
    monkeypatch.setattr(scoring, "_made", _in_blocks)


def content(stats):
    return stats.rows.tolist(), stats.weight.tolist(), stats.sums.tolist()


def remembered_as_plain(layout, metric, points, path, memo):
    """Whether steps along a path of prototypes add the same with a memo and without."""
    for prototypes in path:
        plain = cluster_stats(layout, metric, points, prototypes)
        assert content(cluster_stats(layout, metric, points, prototypes, memo=memo)) == content(
            plain
        )


def jumps(rng, start, steps):
    """Prototypes that stay, creep, jump far, come back, change places or fall together."""
    path = [start]
    for _ in range(steps):
        last, k = path[-1], len(start)
        move = rng.integers(0, 7)
        some = rng.random(k) < 0.4
        new = last.copy()
        if move == 1:
            new += rng.standard_normal(last.shape) * 1e-9
        elif move == 2:
            new[some] += rng.standard_normal(last.shape)[some] * 0.1
        elif move == 3:
            new[some] *= 1e6
        elif move == 4:
            new = path[rng.integers(0, len(path))].copy()
        elif move == 5:
            new = last[rng.permutation(k)]
        elif move == 6:
            new[some] = last[rng.integers(0, k)]
        path.append(new)
    return path


def glides(rng, start, steps):
    """Prototypes that go on at a pace of their own, each in its direction."""
    pace = 10.0 ** rng.uniform(-3, -0.7, (len(start), 1))
    velocity = pace * rng.standard_normal(start.shape)
    return [start + i * velocity for i in range(steps)]


@hypothesis.given(
    st.integers(0, 10**6), st.integers(2, 20), st.integers(1, 6), st.booleans(), st.booleans()
)
@hypothesis.settings(deadline=None, max_examples=30)
def test_any_path_of_prototypes(seed, k, d, weighted, lattice):
    follow(jumps, seed, k, d, weighted, lattice)


@hypothesis.given(
    st.sampled_from([jumps, glides]),
    st.integers(0, 10**6),
    st.sampled_from([2, 20]),
    st.booleans(),
    st.booleans(),
)
@hypothesis.settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_any_path_of_prototypes_in_blocks(few_are_many, path, seed, k, weighted, lattice):
    follow(path, seed, k, 3, weighted, lattice)


def follow(path, seed, k, d, weighted, lattice):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((300, d))
    if lattice:  # many rows half way between prototypes, and many alike
        rows = rng.integers(-2, 3, (300, d)).astype(np.float64)
    weights = rng.random(300) if weighted else None
    layout = layout_of(rows, weights)
    (points,) = chunks_of(layout, rows, weights)
    start = layout.encoding.encode_prototypes(rows[rng.integers(0, 300, k)])
    remembered_as_plain(layout, SQEUCLIDEAN, points, path(rng, start, 12), Memo())


@memos
@pytest.mark.parametrize("make", ADVERSARIES, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:divide by zero")
def test_adversarial_points(few_are_many, make, bounds, sums):
    rng = np.random.default_rng(4)
    points, prototypes = case_of(make, 17, 2)
    rows = points.astype(np.float64)
    layout = layout_of(rows)
    (chunk,) = chunks_of(layout, rows)
    start = layout.encoding.encode_prototypes(prototypes)
    path = jumps(rng, start, 10)
    remembered_as_plain(layout, SQEUCLIDEAN, chunk, path, Memo(bounds, sums))


@memos
def test_points_of_float64(bounds, sums):
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((2000, 3)) + 1e5 * rng.integers(0, 2, (2000, 1))
    layout = layout_of(rows)
    points = Points.of(rows / 2.0**17)
    assert points.fine is not None
    start = rows[:30] / 2.0**17
    remembered_as_plain(layout, SQEUCLIDEAN, points, jumps(rng, start, 10), Memo(bounds, sums))


@memos
def test_directions(bounds, sums):
    rng = np.random.default_rng(6)
    metric, rows = get_metric("cosine"), rng.standard_normal((2000, 5))
    layout = layout_of(rows, metric="cosine")
    (points,) = chunks_of(layout, rows)
    path = jumps(rng, rng.standard_normal((9, 5)), 10)
    remembered_as_plain(layout, metric, points, path, Memo(bounds, sums))


def converging(seed):
    """Blobs in a chunk, and a path along which most labels stay."""
    rng = np.random.default_rng(seed)
    rows, _ = blobs(4096, 8, 10, seed=seed)
    layout = layout_of(rows.astype(np.float64))
    (points,) = chunks_of(layout, rows.astype(np.float64))
    start = layout.encoding.encode_prototypes(rows[:10].astype(np.float64))
    return layout, points, [start + rng.standard_normal(start.shape) * 2.0**-i for i in range(14)]


def test_few_are_compared_again_where_little_moves(monkeypatch):
    layout, points, path = converging(7)
    compared = []

    def counting(points, prototypes, doubt=None):
        compared.append(points.rows if doubt is None else len(doubt.places))
        return score(points, prototypes, doubt)

    score = assign.score
    monkeypatch.setattr(assign, "score", counting)
    memo = Memo()
    for prototypes in path:
        cluster_stats(layout, SQEUCLIDEAN, points, prototypes, memo=memo)
    assert compared[0] == 4096
    assert sum(compared[-4:]) < 4096


@pytest.mark.parametrize("blocks", [False, True], ids=["at once", "in blocks"])
def test_chunks_that_know_other_prototypes_share_those_of_now(blocks, request):
    if blocks:
        request.getfixturevalue("few_are_many")
    layout, points, path = converging(9)
    memos = [Memo() for _ in range(4)]
    for memo, known in zip(memos, ([], path[:1], path[:4], path[3:4]), strict=True):
        for prototypes in known:
            cluster_stats(layout, SQEUCLIDEAN, points, prototypes, memo=memo)
    now = Projected(path[5])
    plain = cluster_stats(layout, SQEUCLIDEAN, points, path[5])
    for memo in memos + memos:
        found = cluster_stats(layout, SQEUCLIDEAN, points, path[5], memo=memo, projected=now)
        assert content(found) == content(plain)


def test_two_attempts_at_a_chunk_share_a_memo():
    """One goes on from what was remembered before the other began."""
    layout, points, path = converging(8)
    memo = Memo()
    cluster_stats(layout, SQEUCLIDEAN, points, path[0], memo=memo)
    before = copy.copy(memo.trials)
    cluster_stats(layout, SQEUCLIDEAN, points, path[1], memo=memo)
    kept = copy.deepcopy(memo.trials[0])
    late = Memo(trials=before)
    stats = cluster_stats(layout, SQEUCLIDEAN, points, path[1], memo=late)
    assert content(stats) == content(kept.stats)
    for name in ("labels", "upper", "lower"):
        assert np.array_equal(getattr(kept.bounded, name), getattr(memo.trials[0].bounded, name))


def test_another_number_of_prototypes():
    """As where candidates are drawn."""
    layout, points, path = converging(9)
    memo = Memo()
    remembered_as_plain(layout, SQEUCLIDEAN, points, [path[0][:4], path[0], path[0][:1]], memo)


def test_each_trial_has_its_own():
    layout, points, path = converging(10)
    memo = Memo()
    for one, other in zip(path, path[::-1], strict=True):
        state = TrainingState((Trial.start(one), Trial.start(other)), squares=1)
        plain = step(layout, "sqeuclidean", state, points)
        with_memo = step(layout, "sqeuclidean", state, points, memo=memo)
        for trial in (0, 1):
            assert content(with_memo.clusters[trial]) == content(plain.clusters[trial])


def test_large_sums_are_not_kept(monkeypatch):
    monkeypatch.setattr(memo_module, "_SUMS_SHARE", 2.0**-10)
    layout, points, path = converging(11)
    memo = Memo()
    remembered_as_plain(layout, SQEUCLIDEAN, points, path, memo)
    assert memo.trials[0].stats is None


def test_chunks_remember_the_same_prototypes():
    """Directions take memory, of which each would have its own."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 3))
    layout = layout_of(rows, metric="cosine")
    state = TrainingState((Trial.start(rows[:4]),))
    memos = [Memo(), Memo()]
    for memo, part in zip(memos, (rows[:30], rows[30:]), strict=True):
        step(layout, "cosine", state, Points.encode(layout.encoding, part), memo=memo)
    one, other = (memo.trials[0].bounded.prototypes for memo in memos)
    assert one is other
