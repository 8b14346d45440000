"""The public face: the job's transforms, what they are told, and what they leave.

    blocks     = pipeline | Blocks(SharedBlocks.write(work, plan.blocks).ranges())
    checkpoint = pipeline | Create([save_state(work, state)])
    blocks | Scan(ScanSpec(…))                   ─► a Summary, in the work folder
    (blocks, checkpoint) | Train(TrainSpec(…))   ─► that of the state after a round of iterations
    blocks | Label(LabelSpec.of(…))              ─► label files, and a manifest that names them

All goes by reference: a plan is made of files, and workers read what its blocks name; what they
share lies in the work folder.
"""

from pipeline.data.blocks import BlockRef
from pipeline.data.names import ColumnNames
from pipeline.data.plan import Plan, make_plan
from pipeline.data.store import Store
from pipeline.passes.blocks import Blocks, SharedBlocks
from pipeline.passes.cache import JobCache
from pipeline.passes.checkpoint import WorkFolder, load_manifest, load_summary, save_state
from pipeline.passes.chunks import Loader
from pipeline.passes.label import Label, LabelSpec
from pipeline.passes.scan import Scan, ScanSpec
from pipeline.passes.train import Train, TrainSpec

__all__ = [
    "BlockRef",
    "Blocks",
    "ColumnNames",
    "JobCache",
    "Label",
    "LabelSpec",
    "Loader",
    "Plan",
    "Scan",
    "ScanSpec",
    "SharedBlocks",
    "Store",
    "Train",
    "TrainSpec",
    "WorkFolder",
    "load_manifest",
    "load_summary",
    "make_plan",
    "save_state",
]
