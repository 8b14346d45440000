"""Labels held to exact arithmetic on the rows in their own units, however they are encoded."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

import kmeans_tf
from kmeans_tf import Model, TrainingOptions
from kmeans_tf.definition import Parts, squares_by_label
from kmeans_tf.start import PrecisionError
from tests import reference

REST = Fraction(1, 10**12)  # what rounding may leave of a difference between two distances


def bimodal(place):
    """Two sites far apart, each of two groups three units apart; prototypes at their middles."""
    random = np.random.default_rng(int(np.log10(place)))
    middles = np.array([[0.0, 0], [3, 0], [place, place], [place, place + 3]])
    return middles.repeat(40, 0) + random.normal(size=(160, 2)), middles


def halfway():
    """Rows in the middle between two prototypes, and next to it."""
    prototypes = np.array([[1e8], [1e8 + 2], [1e8 + 4]])
    places = np.array([1e8 + 1, 1e8 + 3])
    return np.r_[places, np.nextafter(places, 0), np.nextafter(places, 2e8)][:, None], prototypes


def an_ulp_apart():
    prototypes = np.array([[1 / 3, 1.0], [np.nextafter(1 / 3, 1), 1.0], [2.0, 1.0]])
    random = np.random.default_rng(1)
    return np.c_[random.uniform(0, 1, 60), np.ones(60)], prototypes


def large_integers():
    random = np.random.default_rng(2)
    rows = np.r_[random.integers(0, 9, 40), 2**53 - random.integers(0, 9, 40)].astype(float)
    return rows[:, None], np.array([[1.0], [5.0], [2.0**53 - 6], [2.0**53 - 2]])


def sentinels():
    random = np.random.default_rng(3)
    rows = random.normal(size=(60, 3))
    rows[::7, 1] = 1e30
    return rows, np.array([[0.5, 0, 0], [-0.5, 0, 0], [0, 1e30, 0.0], [0, 1e30, 1.0]])


def subnormals():
    random = np.random.default_rng(4)
    rows = np.c_[random.normal(size=60), random.uniform(size=60) * 1e-310]
    return rows, np.array([[0.3, 0.0], [-0.3, 1e-310], [1.0, 0.0]])


def log_normal():
    rows = np.random.default_rng(5).lognormal(0, 8, (80, 2))
    return rows, rows[::16].copy()


def offset(by):
    random = np.random.default_rng(6)
    middles = random.normal(size=(5, 4)) * 3 + by
    return middles.repeat(16, 0) + random.normal(size=(80, 4)), middles


def wide():
    random = np.random.default_rng(7)
    rows = random.normal(size=(12, 2048))
    return rows, rows[:4] + random.normal(size=(4, 2048)) * 0.01


def many_prototypes():
    random = np.random.default_rng(9)
    return random.normal(1e7, 1, (12, 2)), random.normal(1e7, 1, (4096, 2))


def single():
    """Rows that were float32, as embeddings are."""
    rows, middles = offset(300.0)
    return rows.astype(np.float32).astype(np.float64), middles


TABLES = {
    **{f"bimodal at {place:g}": lambda p=place: bimodal(p) for place in (1e3, 1e6, 1e9, 1e12)},
    **{f"offset {by:g}": lambda b=by: offset(b) for by in (1e4, 1e9)},
    "halfway": halfway,
    "an ulp apart": an_ulp_apart,
    "large integers": large_integers,
    "sentinels": sentinels,
    "subnormals": subnormals,
    "log-normal": log_normal,
    "2,048 features": wide,
    "4,096 prototypes": many_prototypes,
    "float32": single,
    "one prototype": lambda: (bimodal(1e6)[0], np.array([[1.0, 2.0]])),
}


def exact_costs(rows, prototypes, scale):
    """Squared distances (n, k) as fractions."""
    factor = [Fraction(float(s)) ** 2 for s in scale]
    exact = [[[Fraction(float(v)) for v in row] for row in part] for part in (rows, prototypes)]
    return [
        [
            sum(f * (x - w) ** 2 for f, x, w in zip(factor, row, prototype, strict=True))
            for prototype in exact[1]
        ]
        for row in exact[0]
    ]


@pytest.mark.parametrize("scaled", [False, True], ids=["as it is", "scaled"])
@pytest.mark.parametrize("name", TABLES)
def test_no_label_costs_more_than_the_best(name, scaled):
    rows, prototypes = TABLES[name]()
    d = rows.shape[1]
    scale = np.linspace(0.3, 1.7, d) if scaled else np.ones(d)
    model = Model("sqeuclidean", prototypes, np.arange(len(prototypes)), np.zeros(d), scale)
    labels, distances = model.label(rows)
    for label, distance, costs in zip(
        labels, distances, exact_costs(rows, prototypes, scale), strict=True
    ):
        assert costs[label] <= min(costs) * (1 + REST)
        if costs[label] > 1e-300:
            assert abs(Fraction(float(distance)) ** 2 - costs[label]) <= costs[label] * REST


@pytest.mark.parametrize("unit", [1e-307, 1e-250, 1e-200, 1e-160, 1e155, 1e200, 1e306])
def test_squares_that_float64_does_not_hold_decide_labels(unit):
    """Where they vanish, there is one beside them that float64 holds."""
    prototypes = np.array([0, 1, -3, 4, 5, 1 / unit if unit < 1 else -8])[:, None] * unit
    rows = np.array([0.1, 0.9, 1.0, 2.1, 2.6, 4.4, 4.6, -0.6, -1.6, 9])[:, None] * unit
    model = Model("sqeuclidean", prototypes, np.arange(6), np.zeros(1), np.ones(1))
    labels, distances = model.label(rows)
    exact = [[abs(Fraction(x) - Fraction(w)) for w in prototypes.flat] for x in rows.flat]
    assert labels.tolist() == [away.index(min(away)) for away in exact]
    nearest = [float(min(away)) for away in exact]
    np.testing.assert_allclose(distances, nearest, rtol=1e-15)


def test_no_imputed_label_costs_more_than_the_best():
    rows, prototypes = bimodal(1e9)
    rows[::3, 1], means = np.nan, np.array([4e8, 4e8 + 1.5])
    model = Model("sqeuclidean", prototypes, np.arange(4), np.zeros(2), np.ones(2), means)
    labels, _ = model.label(rows)
    full = np.where(np.isnan(rows), means, rows)
    for label, costs in zip(labels, exact_costs(full, prototypes, np.ones(2)), strict=True):
        assert costs[label] <= min(costs) * (1 + REST)


def directions(by):
    """Rows far from the origin, whose directions are the closer to each other."""
    random = np.random.default_rng(8)
    prototypes = random.normal(size=(5, 3)) + by
    rows = np.concatenate([prototypes * s + random.normal(size=(5, 3)) * 1e-3 for s in (0.5, 1, 9)])
    return np.concatenate([rows, random.normal(size=(90, 3)) + by]), prototypes


def whole_directions(by):
    random = np.random.default_rng(31)
    prototypes = np.array([[1, 0, 0], [-2, 1, 0], [0, -3, 2], [4, 4, -4.0]]) + by
    return random.integers(-6, 7, (400, 3)) + by, prototypes


def wide_directions():
    random = np.random.default_rng(9)
    prototypes = 1e6 + random.normal(size=(3, 512))
    return prototypes.repeat(3, 0) + random.normal(size=(9, 512)) * 0.1, prototypes


DIRECTIONS = {
    **{f"offset {by:g}": lambda b=by: directions(b) for by in (0, 1e3, 1e6, 1e9)},
    **{f"integers at {by:g}": lambda b=by: whole_directions(b) for by in (0.5, 1e6, 1e9)},
    "512 features": wide_directions,
}
COSINE_REST = Decimal("1e-12"), Decimal("1e-26")  # of the cost, and of 1


@pytest.mark.parametrize("name", DIRECTIONS)
def test_no_cosine_label_costs_more_than_the_best(name):
    rows, prototypes = DIRECTIONS[name]()
    k, d = prototypes.shape
    model = Model("cosine", prototypes, np.arange(k), np.zeros(d), np.ones(d))
    labels, distances = model.label(rows)
    relative, absolute = COSINE_REST
    with localcontext() as context:
        context.prec = 80
        for row, label, distance in zip(rows, labels, distances, strict=True):
            costs = [_cosine_cost(row, prototype) for prototype in prototypes]
            rest = relative * min(costs) + absolute
            assert costs[label] - min(costs) <= rest
            assert abs(Decimal(float(distance)) - costs[label]) <= rest


@pytest.mark.parametrize("place", [1e-310, 1e-200, 1e-160, 1e155, 1e200, 1e307])
def test_cosine_labels_are_right_wherever_float64_numbers_are(place):
    angles = np.linspace(0.05, 1.5, 40)
    rows = np.c_[np.cos(angles), np.sin(angles)] * place
    prototypes = np.array([[1.0, 0.1], [0.9, 0.6], [0.5, 1.0]])
    model = Model("cosine", prototypes, np.arange(3), np.zeros(2), np.ones(2))
    labels, distances = model.label(rows)
    with localcontext() as context:
        context.prec, context.Emin = 80, -9999
        for row, label, distance in zip(rows, labels, distances, strict=True):
            costs = [_cosine_cost(row, prototype) for prototype in prototypes]
            assert costs[label] == min(costs)
            assert abs(Decimal(float(distance)) / min(costs) - 1) < COSINE_REST[0]


def _cosine_cost(x, w):
    x, w = [Decimal(float(v)) for v in x], [Decimal(float(v)) for v in w]
    dot = sum(a * b for a, b in zip(x, w, strict=True))
    return 1 - dot / (sum(a * a for a in x) * sum(b * b for b in w)).sqrt()


@pytest.mark.parametrize("place", [1e4, 1e7, 1e10])
def test_training_sees_structure_finer_than_float32(place):
    """What float64 finds from the same start, where a point of one float32 number finds it not."""
    rows, middles = bimodal(place)
    start = np.add(middles, [[0.5, 0.2]])
    options = TrainingOptions(tolerance=0)
    model, state = kmeans_tf.fit(rows, 4, init=start, options=options)
    expected = reference.fit(rows, start, tolerance=0)
    labels, _ = model.label(rows)
    assert np.array_equal(labels, expected.labels)
    np.testing.assert_allclose(
        model.prototypes, expected.prototypes, rtol=1e-12, atol=place * 1e-14
    )
    assert state.precision == ("double" if place > 1e5 else state.precision)
    coarse, _ = kmeans_tf.fit(rows, 4, init=start, options=options, precision="single")
    if place == 1e10:  # the premise
        assert not np.allclose(coarse.prototypes, expected.prototypes, rtol=0, atol=0.1)


def test_ordinary_rows_stay_single():
    rows = offset(1e3)[0]
    _, state = kmeans_tf.fit(rows, 5)
    assert state.precision == "single"


def test_double_points_add_up_exactly_in_any_order():
    rows, _ = bimodal(1e9)
    order = np.random.default_rng(9).permutation(len(rows))
    fits = [
        kmeans_tf.fit(rows[some], 4, init=rows[:4], precision="double")
        for some in (slice(None), order)
    ]
    (model, state), (other, shuffled) = fits
    assert state.precision == "double"
    assert model.prototypes.tobytes() == other.prototypes.tobytes()
    assert state.trials[0].costs == shuffled.trials[0].costs


def far_apart(near, far):
    """Rows (n, 1): two groups near 0, and some at a far place or about it."""
    return np.concatenate([near, far]).astype(float)[:, None]


def two_groups(size, seed=0):
    random = np.random.default_rng(seed)
    return np.r_[random.normal(size=100), random.normal(size=100) + 50] * size


def normal(count, place, spread):
    return place + spread * np.random.default_rng(1).normal(size=count)


def whole(count, least, beyond):
    return np.random.default_rng(2).integers(least, beyond, count)


# Rows, k, and prototypes to start from, if any.
FAR_APART = {
    "whole numbers beside others near 2**53": lambda: (
        far_apart(whole(150, 0, 100), whole(60, 2**53 - 100, 2**53)),
        4,
        None,
    ),
    "at 0 and 1e12": lambda: (far_apart(normal(150, 0, 1), normal(50, 1e12, 1)), 4, None),
    "two fifths at 1e16": lambda: (
        far_apart(whole(180, 0, 1000), 1e16 + 64.0 * whole(120, 0, 100)),
        4,
        [200, 500, 800, 1e16],
    ),
    "a fifth at 0": lambda: (far_apart(normal(60, 0, 1), normal(240, 1e16, 100)), 4, None),
    "two fifths at 1e30": lambda: (far_apart(two_groups(1), np.full(130, 1e30)), 3, None),
    **{
        f"sentinels of {place:g}": lambda place=place: (
            far_apart(two_groups(1), np.full(5, place)),
            3,
            None,
        )
        for place in (1e30, 1e40, 1e43, 1e46, 1e60, 1e100)
    },
    "1e-100 beside 1e30": lambda: (far_apart(two_groups(1e-100), np.full(5, 1e30)), 3, None),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "standard"),
    [*((name, False) for name in FAR_APART), ("whole numbers beside others near 2**53", True)],
)
def test_prototypes_are_the_means_of_their_rows_beside_others_far_away(name, standard):
    rows, k, start = FAR_APART[name]()
    first = {} if start is None else {"init": np.array(start)[:, None]}
    options = TrainingOptions(tolerance=0)
    model, state = kmeans_tf.fit(rows, k, standard=standard, **first, options=options)
    assert state.precision == "double"
    labels, _ = model.label(rows)
    assert len(np.unique(labels)) == k
    for label, prototype in enumerate(model.prototypes[:, 0]):
        own = [Fraction(x) for x in rows[labels == label, 0]]
        mean = sum(own) / len(own)
        spread = max(own) - min(own)
        rest = spread / 10**12 + abs(mean) / 2**52
        assert abs(Fraction(float(prototype)) - mean) <= rest


@pytest.mark.parametrize("precision", ["auto", "double"])
@pytest.mark.parametrize(
    ("near", "far", "others"),
    [
        (1e-280, 1e30, 1),  # the near ones would all be one point
        (1e-119, 1e120, 0),  # the squares of what is between them would vanish
    ],
)
def test_rows_that_no_points_are_fine_enough_for_are_refused(near, far, others, precision):
    rows = far_apart(two_groups(near), np.full(5, far))
    rows = np.concatenate([np.arange(len(rows))[:, None] % 7] * others + [rows], axis=1)
    with pytest.raises(PrecisionError) as raised:
        kmeans_tf.fit(rows, 3, precision=precision)
    assert raised.value.columns == [others]


def test_too_few_directions_are_no_matter_of_precision():
    rows = np.array([[1.0, 1], [2, 2], [4, 4], [0, 1]])
    with pytest.raises(ValueError, match="k = 3, but there are only 2 distinct points"):
        kmeans_tf.fit(rows, 3, options=TrainingOptions("cosine"))


@pytest.mark.parametrize("k", [3, 30])
def test_squared_distances_are_added_feature_by_feature(monkeypatch, k):
    monkeypatch.setattr("kmeans_tf.definition._TILE_ROWS", 4)
    random = np.random.default_rng(0)
    rows, targets, factors = (random.normal(size=shape) for shape in ((11, 37), (k, 37), 37))
    labels = random.integers(0, k, 11)
    expected = np.zeros(11)
    for j in range(37):
        expected += ((rows[:, j] - targets[labels, j]) * factors[j]) ** 2
    found = squares_by_label(Parts(rows), Parts(targets), labels, factors)
    assert found.tolist() == expected.tolist()
