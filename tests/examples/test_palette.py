"""The palette of a photograph, on a corner of it: shards, command line, pictures, figures."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from examples import palette

pytestmark = pytest.mark.xdist_group("palette")  # for the fixtures of this module

K = 5
FIRST, SECOND = palette.LIGHTS


@pytest.fixture(scope="module")
def photo():
    return load_sample_image("china.jpg")[150:240, 60:180].copy()


@pytest.fixture(scope="module")
def run(photo, tmp_path_factory, commands_run_here):
    folder = tmp_path_factory.mktemp("a photo")
    return folder, palette.make_palette(photo, folder, FIRST, K)


@pytest.fixture(scope="module")
def second(run, photo):
    """The same photograph in another light."""
    return palette.make_palette(photo, run[0], SECOND, K)


def test_the_pixels_are_written_as_shards(run, photo):
    pixels = run[0] / "pixels" / FIRST
    assert len([*pixels.iterdir()]) == palette.SHARDS
    table = pq.read_table(pixels)
    assert {str(table.schema.field(name).type) for name in palette.CHANNELS} == {"uint8"}
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    pixels = np.stack([table[name].to_numpy() for name in palette.CHANNELS], 1)
    np.testing.assert_array_equal(pixels, photo[y, x])
    assert len(np.unique(y * 1000 + x)) == photo.shape[0] * photo.shape[1]


def test_the_reconstruction_error_is_the_cost(run, photo):
    folder, made = run
    prototypes = pq.read_table(folder / FIRST / "prototypes.parquet")
    colours = np.stack([prototypes[name].to_numpy() for name in palette.CHANNELS], 1)
    pixels = photo.reshape(-1, 3).astype(np.float64)
    squares = ((pixels[:, None] - colours) ** 2).sum(2)
    labels = pq.read_table(folder / FIRST / "labels")
    at = labels["y"].to_numpy().astype(int) * photo.shape[1] + labels["x"].to_numpy()
    error = squares[at, labels["label"].to_numpy()].mean()
    assert error == pytest.approx(made.cost / len(pixels), rel=1e-6)
    assert error == pytest.approx(squares.min(1).mean(), rel=1e-6)


def test_the_picture_shows_every_pixel_in_the_colour_of_its_cluster(run, photo):
    _, made = run
    pixels, colours = photo.reshape(-1, 3).astype(int), made.colours.astype(int)
    painted = made.picture.reshape(-1, 3)
    assert {tuple(c) for c in painted} == {tuple(c) for c in made.colours}
    squares = ((pixels[:, None] - colours) ** 2).sum(2)
    # Colours are rounded to whole numbers, so a tie or two may look the other way.
    nearest = made.colours[squares.argmin(1)]
    assert (nearest == painted).all(1).mean() > 0.99


def test_shares_are_of_all_pixels_and_fall(run):
    shares = run[1].shares
    assert shares.sum() == pytest.approx(1)
    assert (np.diff(shares) <= 0).all()


def test_the_pictures_are_written(run):
    with Image.open(run[0] / f"{FIRST}.png") as picture:
        assert picture.width > 1000
        shown = np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)
    for colour in run[1].colours:
        assert (shown == colour).all(1).any()
    assert (run[0] / FIRST / "report.html").exists()


def test_the_second_night_goes_on_from_the_first(run, second):
    folder, first = run
    assert first.moved is None
    assert sorted(second.labels) == sorted(first.labels)
    dimmed = first.colours * np.array(palette.LIGHTS[SECOND])
    for label, colour in zip(first.labels, dimmed, strict=True):
        [now] = second.colours[second.labels == label].astype(float)
        others = np.abs(second.colours - colour).sum(1)
        assert np.abs(now - colour).sum() == others.min(), "a label goes with its colour"
    nights = [
        pq.read_table(folder / day / "labels").sort_by([("y", "ascending"), ("x", "ascending")])
        for day in (FIRST, SECOND)
    ]
    before, now = (night["label"].to_numpy() for night in nights)
    assert second.moved == (before != now).mean() > 0
    report = (folder / SECOND / "report.html").read_text()
    assert "an arrow comes from where one was in the last run" in " ".join(report.split())


def test_a_second_run_replaces_the_first(run, second, photo, capsys):
    folder, first = run
    again = palette.make_palette(photo, folder, FIRST, K)
    np.testing.assert_array_equal(again.picture, first.picture)
    palette.tell({FIRST: again, SECOND: second}, folder)
    told = capsys.readouterr().out
    assert "python -m pipeline fit" in told
    for night in (again, second):
        assert all(name in told for name in palette.hex_names(night))
    assert f"{second.moved:.1%} of the pixels" in told
    for day in (FIRST, SECOND):
        assert f"{folder}/{day}.png" in told
        assert f"{folder}/{day}/report.html" in told
