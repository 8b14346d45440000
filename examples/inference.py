"""Rows labelled where they are: Beam's own RunInference with a model that the job has trained.

`python -m examples.inference` clusters a table of customers. Then one transform labels the table in
a batch pipeline, and a stream of customers in a streaming one, which counts them minute by minute.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from examples import command
from pipeline.inference import KMeansModelHandler

OUT = Path("out/inference")
MINUTE = 60
STREAM_ROWS, MINUTES = 600, 3


def main() -> None:
    """The example from the table to the counts."""
    customers, result, labels = OUT / "customers.parquet", OUT / "result", OUT / "labels"
    OUT.mkdir(parents=True, exist_ok=True)
    pq.write_table(make_customers(20_000, seed=0), customers)
    command.run(
        *("fit", "--input", f"{customers}", "--output", f"{result}", "--overwrite"),
        *("--k", "4", "--keys", "customer", "--scale", "standard"),
    )
    label_table(customers, result, labels)
    print(f"\nlabels: {labels}\nminute by minute:", flush=True)
    stream = make_stream(make_customers(STREAM_ROWS, seed=1).to_pylist(), MINUTES)
    count_by_minute(stream, result)


def labelled(rows: beam.PCollection, model: Path) -> beam.PCollection:
    """Rows, dicts with the model's features by name, with `label` and `distance` beside these."""
    return (
        rows
        | RunInference(KMeansModelHandler(str(model)))
        | "Answer" >> beam.Map(lambda result: result.example | result.inference)
    )


def label_table(table: Path, model: Path, folder: Path) -> None:
    """Labels a Parquet file in a batch pipeline."""
    schema = pq.read_schema(table)
    schema = schema.append(pa.field("label", pa.int32()))
    schema = schema.append(pa.field("distance", pa.float64()))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | beam.io.ReadFromParquet(str(table))
        _ = labelled(rows, model) | beam.io.WriteToParquet(str(folder / "part"), schema)


def count_by_minute(stream: TestStream, model: Path) -> None:
    """Labels a stream, and prints for each minute how many rows had which label."""
    options = PipelineOptions(streaming=True)
    with beam.Pipeline(runner=BundleBasedDirectRunner(), options=options) as pipeline:
        rows = pipeline | stream | beam.WindowInto(FixedWindows(MINUTE))
        _ = (
            labelled(rows, model)
            | "Label" >> beam.Map(lambda row: row["label"])
            | beam.combiners.Count.PerElement()
            | beam.CombineGlobally(beam.combiners.ToDictCombineFn()).without_defaults()
            | "Print" >> beam.Map(print_counts)
        )


def print_counts(counts: dict[int, int], window: Any = beam.DoFn.WindowParam) -> None:
    """Prints the counts of a minute by label."""
    told = "  ".join(f"{label}: {count:4}" for label, count in sorted(counts.items()))
    print(f"  {int(window.start) // MINUTE}  {told}", flush=True)


def make_stream(rows: Iterable[dict[str, Any]], minutes: int) -> TestStream:
    """Rows that come so many minutes long, as Beam's test of a stream has it."""
    rows, stream = list(rows), TestStream()
    for minute in range(minutes):
        part = rows[len(rows) * minute // minutes : len(rows) * (minute + 1) // minutes]
        times = MINUTE * (minute + np.arange(len(part)) / len(part))
        stream = stream.add_elements(
            [TimestampedValue(row, time) for row, time in zip(part, times.tolist(), strict=True)]
        ).advance_watermark_to(MINUTE * (minute + 1))
    return stream.advance_watermark_to_infinity()


def make_customers(count: int, seed: int) -> pa.Table:
    """Customers of four kinds."""
    random = np.random.default_rng(seed)
    kinds = np.array([[5.0, 20.0], [40.0, 35.0], [12.0, 90.0], [60.0, 120.0]])
    rows = kinds[random.integers(4, size=count)] * random.lognormal(0, 0.15, (count, 2))
    return pa.table({"customer": np.arange(count), "orders": rows[:, 0], "basket": rows[:, 1]})


if __name__ == "__main__":
    main()
