"""The palette of a photograph on two nights: its pixels are the table, its colours the clusters.

Scikit-learn's `china.jpg` is written as Parquet shards, the job clusters it by colour, and every
pixel is then painted in the colour of its cluster. On the second night the light is another; the
same command goes on from the first night's clusters, which keep their labels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
LIGHTS = {"2026-03-01": (1.0, 1.0, 1.0), "2026-03-02": (1.0, 0.97, 0.93)}  # of each night


@dataclass(frozen=True)
class Palette:
    """What the job made of a photograph.

    Attributes:
        colours: (k, 3) uint8, the most common first.
        labels: (k,) int32, by which they are known from night to night.
        shares: (k,) float64, the part of the pixels that each stands for.
        picture: (height, width, 3) uint8, the photograph in these colours.
        cost: the sum over the pixels of the squared distance to their prototype.
        moved: the part of the pixels whose label is not that of the night before, if there is one.
    """

    colours: np.ndarray
    labels: np.ndarray
    shares: np.ndarray
    picture: np.ndarray
    cost: float
    moved: float | None


def main() -> None:
    """The example as `make run` runs it."""
    photo = load_sample_image("china.jpg")
    tell({day: make_palette(photo, OUT, day, COLOURS) for day in LIGHTS}, OUT)


def make_palette(photo: np.ndarray, folder: Path, day: str, k: int) -> Palette:
    """Clusters a photograph (height, width, 3) uint8 in a night's light, below the folder."""
    photo = np.rint(photo * np.array(LIGHTS[day])).astype(np.uint8)
    write_pixels(photo, folder / "pixels" / day)
    command.run(
        *("fit", "--date", day, "--input", f"{folder}/pixels/{{date}}"),
        *("--output", f"{folder}/{{date}}", "--init", f"{folder}/{{yesterday}}", "--k", f"{k}"),
        *("--features", ",".join(CHANNELS), "--keys", "x,y", "--overwrite"),
        *("--gate", "moved_share<=0.2", "--gate", "smallest_cluster>=100"),
    )
    palette = read_palette(folder / day, photo.shape)
    draw(photo, palette, folder / f"{day}.png")
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
    rows, numbers = prototypes["rows"].to_numpy(), prototypes["label"].to_numpy()
    labels = pq.read_table(result / "labels")
    places = pc.index_in(labels["label"], pa.array(numbers)).to_numpy()
    picture = np.empty(shape, np.uint8)
    picture[labels["y"].to_numpy(), labels["x"].to_numpy()] = colours[places]
    run = RunRecord.parse((result / RUN).read_bytes())
    order = np.argsort(-rows, kind="stable")
    return Palette(
        colours[order],
        numbers[order],
        rows[order] / rows.sum(),
        picture,
        run.result.cost,
        run.match.moved_share if run.match else None,
    )


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


def tell(nights: dict[str, Palette], folder: Path) -> None:
    """Prints the palettes by label, what they cost, and where everything is."""
    print(f"\n{'label':7}" + "".join(f"{day:20}" for day in nights).rstrip())
    for label in next(iter(nights.values())).labels:
        print(f"{label:5}  " + "".join(_told(night, label) for night in nights.values()).rstrip())
    print()
    for day, palette in nights.items():
        told = f"{palette.cost / palette.picture[..., 0].size:.2f} per pixel"
        if palette.moved is not None:
            told += f", {palette.moved:.1%} of the pixels have another label"
        print(f"{day}: cost {told}")
        print(f"  {folder}/{day}.png  {folder}/{day}/report.html")


def _told(palette: Palette, label: int) -> str:
    """The colour of a label and its share of the pixels."""
    [place] = np.flatnonzero(palette.labels == label)
    return f"{hex_names(palette)[place]} {palette.shares[place]:6.1%}".ljust(20)


if __name__ == "__main__":
    main()
