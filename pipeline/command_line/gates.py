"""What an answer must hold to be published."""

import difflib
import operator
import re
from dataclasses import dataclass

FIGURES = ("cost_increase", "moved_share", "smallest_cluster", "bad_rows", "silhouette")
_SIGNS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
_GATE = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)\s*")


@dataclass(frozen=True)
class Bound:
    """A bound on a figure.

    Attributes:
        text: as the user wrote it.
        figure: one of FIGURES.
        sign: how the figure is to compare with the limit.
        limit: a number.
    """

    text: str
    figure: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Bound":
        """Reads `cost_increase<=0.10`.

        Raises:
            ValueError: it is no bound, or there is no such figure.
        """
        match = _GATE.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r}: expected a bound such as {FIGURES[0]}<=0.10")
        figure, sign, limit = match.groups()
        if figure not in FIGURES:
            near = difflib.get_close_matches(figure, FIGURES, 1)
            offered = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIGURES)}"
            raise ValueError(f"{text!r}: no figure {figure!r}: {offered}")
        try:
            number = float(limit)
        except ValueError:
            number = float("nan")
        if number != number:
            raise ValueError(f"{text!r}: {limit!r} is no number")
        return cls(text, figure, sign, number)

    def holds(self, value: float) -> bool:
        """Whether a figure keeps within it."""
        return bool(_SIGNS[self.sign](value, self.limit))
