"""The options that Beam and its runners know."""

import argparse
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions


def beam_parser(groups: Sequence[Any] = ()) -> argparse.ArgumentParser:
    """A parser of every option that Beam and its runners know, or of those of some groups."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, add_help=False, conflict_handler="resolve", exit_on_error=False
    )
    for kind in groups or _subclasses(PipelineOptions):
        kind._add_argparse_args(parser)
    return parser


def _subclasses(kind: Any) -> list[Any]:
    descendants: list[Any] = []
    for below in kind.__subclasses__():
        descendants += [below, *_subclasses(below)]
    return [child for child in descendants if "_add_argparse_args" in vars(child)]
