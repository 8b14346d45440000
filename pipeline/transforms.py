"""The public face: the job's transforms, what they are told, and what they leave.

    blocks  = pipeline | Blocks(plan.blocks)
    blocks | Scan(ScanSpec(…))              ─► a Summary, in the work folder
    (blocks, state) | Train(TrainSpec(…))   ─► the state after a round of iterations
    blocks | Label(LabelSpec.of(…))         ─► label files, and a manifest that names them

The rows come by reference: a plan is made of files, and workers read what its blocks name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam

from pipeline.data.blocks import BlockRef
from pipeline.data.names import ColumnNames
from pipeline.data.plan import Plan, make_plan
from pipeline.data.store import Store
from pipeline.passes.checkpoint import WorkFolder, load_manifest, load_summary
from pipeline.passes.chunks import Loader
from pipeline.passes.label import Label, LabelSpec
from pipeline.passes.scan import Scan, ScanSpec
from pipeline.passes.train import Train, TrainSpec

__all__ = [
    "BlockRef",
    "Blocks",
    "ColumnNames",
    "Label",
    "LabelSpec",
    "Loader",
    "Plan",
    "Scan",
    "ScanSpec",
    "Store",
    "Train",
    "TrainSpec",
    "WorkFolder",
    "load_manifest",
    "load_summary",
    "make_plan",
]


@dataclass
class Blocks(beam.PTransform):
    """A pipeline -> the blocks as a collection, spread over the workers."""

    blocks: Sequence[BlockRef]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        created = pipeline | beam.Create(self.blocks).with_output_types(BlockRef)
        return created | beam.Reshuffle()
