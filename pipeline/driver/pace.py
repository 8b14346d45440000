"""When a training has to stop, so that its rows are labelled and published in time.

The state on disk knows no clock: the driver decides between rounds, and a resumed run with another
deadline goes on.
"""

import math
from dataclasses import dataclass

from pipeline.command_line.moments import Deadline

PUBLISHING_SECONDS = 3.0  # for the model, the report and moving files
_PATIENCE = 1.5  # times the slowest read so far: what a read after the training is given


@dataclass
class Pace:
    """How long iterations take, and how many more there is time for.

    Attributes:
        deadline: None for none.
        reads: of all rows, that come after the training.
        read_seconds: of the slowest read so far; 0 where none was measured.
        iteration_seconds: of those of the last round, its start included; None before the first.
    """

    deadline: Deadline | None
    reads: int
    read_seconds: float = 0.0
    iteration_seconds: float | None = None

    def measured(self, seconds: float, iterations: int) -> None:
        """Takes note of a round."""
        self.iteration_seconds = seconds / iterations
        self.read_seconds = max(self.read_seconds, self.iteration_seconds)

    def iterations(self, most: int) -> int:
        """How many to do in the next round, at most so many; 0 when the training is to stop.

        The first round tells how long one takes; later ones take up half of the time.
        """
        if self.deadline is None:
            return most
        left = self.deadline.left - PUBLISHING_SECONDS
        left -= _PATIENCE * self.reads * self.read_seconds
        known = self.iteration_seconds
        expected = self.read_seconds if known is None else known
        fits = left / expected if expected else math.copysign(math.inf, left)
        if fits < 1:
            return 0
        return 1 if known is None else min(most, max(1, int(min(fits, 2 * most) / 2)))
