"""The fixtures of tests/pipeline that these need."""

from tests.pipeline.conftest import fit, run, three_blobs

__all__ = ["fit", "run", "three_blobs"]
