"""The palette of a photograph: its pixels are the table, its colours the clusters.

Scikit-learn's `china.jpg` is written as Parquet shards, the job clusters it by colour, and every
pixel is then painted in the colour of its cluster.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_sample_image

from examples import command
from pipeline.output.run_record import RUN, RunRecord

OUT = Path("out/palette")
COLOURS = 16
SHARDS = 4
CHANNELS = ["red", "green", "blue"]


@dataclass(frozen=True)
class Palette:
    """What the job made of a photograph.

    Attributes:
        colours: (k, 3) uint8, the most common first.
        shares: (k,) float64, the part of the pixels that each stands for.
        picture: (height, width, 3) uint8, the photograph in these colours.
        cost: the sum over the pixels of the squared distance to their prototype.
    """

    colours: np.ndarray
    shares: np.ndarray
    picture: np.ndarray
    cost: float


def main() -> None:
    """The example as `make run` runs it."""
    photo = load_sample_image("china.jpg")
    make_palette(photo, OUT, COLOURS)


def make_palette(photo: np.ndarray, folder: Path, k: int) -> Palette:
    """Clusters a photograph (height, width, 3) uint8 and writes everything below the folder."""
    write_pixels(photo, folder / "pixels")
    result = folder / "result"
    command.run(
        *("fit", "--input", f"{folder}/pixels", "--output", f"{result}", "--k", f"{k}"),
        *("--features", ",".join(CHANNELS), "--keys", "x,y", "--overwrite"),
    )
    palette = read_palette(result, photo.shape)
    draw(photo, palette, folder / "palette.png")
    tell(palette, folder)
    return palette


def write_pixels(photo: np.ndarray, folder: Path) -> None:
    """Writes one row per pixel, in shards that are bands of the photograph."""
    folder.mkdir(parents=True, exist_ok=True)
    places = np.indices(photo.shape[:2], np.uint16)
    columns = {"x": places[1], "y": places[0]}
    columns |= {name: photo[..., i] for i, name in enumerate(CHANNELS)}
    for i, band in enumerate(np.array_split(np.arange(len(photo)), SHARDS)):
        table = pa.table({name: values[band].ravel() for name, values in columns.items()})
        pq.write_table(table, folder / f"pixels-{i}.parquet", compression="zstd")


def read_palette(result: Path, shape: tuple[int, ...]) -> Palette:
    """Reads the palette, and the picture it paints, from the job's output folder."""
    prototypes = pq.read_table(result / "prototypes.parquet")
    means = np.stack([prototypes[name].to_numpy() for name in CHANNELS], 1)
    colours = np.rint(means).astype(np.uint8)
    rows = prototypes["rows"].to_numpy()
    labels = pq.read_table(result / "labels")
    picture = np.empty(shape, np.uint8)
    picture[labels["y"].to_numpy(), labels["x"].to_numpy()] = colours[labels["label"].to_numpy()]
    cost = RunRecord.parse((result / RUN).read_bytes()).result.cost
    order = np.argsort(-rows, kind="stable")
    return Palette(colours[order], rows[order] / rows.sum(), picture, cost)


def draw(photo: np.ndarray, palette: Palette, path: Path) -> None:
    """Draws the photograph before and after, its palette beneath."""
    height, width = photo.shape[:2]
    inches = 6 * height / width
    figure = Figure(figsize=(12.4, inches + 1.6), layout="constrained")
    (top,), (bottom,) = figure.subfigures(2, squeeze=False, height_ratios=[inches + 0.5, 1.1])
    before, after = top.subplots(1, 2)
    seen = len(np.unique(photo.reshape(-1, 3), axis=0))
    _show(before, photo, f"Before: {seen:,} colours")
    _show(after, palette.picture, f"After: {len(palette.colours)} colours")
    _draw_strip(bottom.subplots(), palette)
    figure.savefig(path, dpi=110)


def _show(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=13)
    axes.axis("off")


def _draw_strip(axes: Axes, palette: Palette) -> None:
    for i, (name, share) in enumerate(zip(hex_names(palette), palette.shares, strict=True)):
        axes.add_patch(Rectangle((i, 0), 1, 1, color=name, lw=0))
        axes.text(i + 0.5, -0.08, f"{name}\n{share:.1%}", ha="center", va="top", fontsize=9)
    axes.set(xlim=(0, len(palette.colours)), ylim=(-0.75, 1))
    axes.axis("off")


def hex_names(palette: Palette) -> list[str]:
    """The colours as #rrggbb."""
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in palette.colours]


def tell(palette: Palette, folder: Path) -> None:
    """Prints the palette, the cost, and where everything is."""
    pixels = palette.picture.shape[0] * palette.picture.shape[1]
    print("\npalette:")
    for name, share in zip(hex_names(palette), palette.shares, strict=True):
        print(f"  {name}  {share:6.1%}")
    print(f"cost:     {palette.cost:,.0f} ({palette.cost / pixels:.2f} per pixel)")
    print(f"picture:  {folder}/palette.png")
    print(f"report:   {folder}/result/report.html")


if __name__ == "__main__":
    main()
