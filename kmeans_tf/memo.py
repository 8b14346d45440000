"""What a chunk remembers from one iteration to the next."""

from dataclasses import dataclass, field

from kmeans_tf.bounds import Bounded
from kmeans_tf.points import Points
from kmeans_tf.stats import ClusterStats

_SUMS_SHARE = 1 / 8  # of the points' own memory; larger sums are found again sooner than kept
_BYTES_A_ROW = 12  # a label and two bounds


@dataclass(frozen=True)
class Remembered:
    """What is known of a chunk's points and the prototypes of a trial.

    Attributes:
        bounded: labels and bounds on distances.
        stats: the chunk's by these labels; None where they are not kept.
    """

    bounded: Bounded
    stats: ClusterStats | None


@dataclass
class Memo:
    """What was found for each trial when its prototypes were last elsewhere.

    It saves time and changes nothing: a step without it, or with what another attempt at it has
    left, adds the same to the bit. What lies in it is replaced as a whole and never changed, so
    several may use it at once.

    Attributes:
        bounds: whether labels and bounds are kept.
        sums: whether stats are kept beside them.
        trials: by index.
    """

    bounds: bool = True
    sums: bool = True
    trials: dict[int, Remembered] = field(default_factory=dict)

    def bounded(self, trial: int) -> Bounded | None:
        """What is known of the points and the prototypes of a trial, by its index."""
        known = self.trials.get(trial)
        return known.bounded if known else None

    @staticmethod
    def nbytes(rows: int, points_bytes: int) -> int:
        """What a trial's memo of so many points takes at most, but for the prototypes."""
        return _BYTES_A_ROW * rows + int(_SUMS_SHARE * points_bytes)

    def keeps_sums(self, stats: ClusterStats, points: Points) -> bool:
        """Whether stats of this size are kept beside these points."""
        return self.sums and stats.sums.nbytes <= _SUMS_SHARE * points.nbytes
