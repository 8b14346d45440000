"""Beam's options, each view of which is made once.

Beam asks for one hundreds of times while it builds and runs a graph, and makes it by a parser of
its own each time: a third of what building took.
"""

from typing import Any, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

_View = TypeVar("_View", bound=PipelineOptions)


class RememberedOptions(PipelineOptions):
    """Options whose views are remembered; all share the values, as Beam has it."""

    def view_as(self, cls: type[_View]) -> _View:
        views = vars(self).setdefault("_views", {})
        known = views.get(cls)
        if known is None or known._all_options is not self._all_options:
            known = views[cls] = super().view_as(cls)
        return known

    def __getstate__(self) -> dict[str, Any]:
        """Copies have views of their own."""
        return {name: value for name, value in super().__getstate__().items() if name != "_views"}
