"""How tonight's clusters go on from those of an earlier night."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kmeans_tf import Model
from kmeans_tf.matching import NEW, match, moves, numbered
from pipeline.driver.attempt import Attempt
from pipeline.nights.night import Night
from pipeline.output.run_record import Drift, Match
from pipeline.passes.moved import CountMoved, LabelFile, MovedSpec, forget_moved, take_moved
from pipeline.passes.totals import LabelTotals


@dataclass(frozen=True)
class Continuation:
    """Prototypes that were matched to those of an earlier night.

    Attributes:
        night: the earlier one.
        earlier: its model, the features in the order of tonight's.
        model: tonight's, whose labels are of whatever numbers.
    """

    night: Night
    earlier: Model
    model: Model

    @cached_property
    def matched(self) -> np.ndarray:
        """(k,) int64, see `kmeans_tf.matching.match`."""
        return match(self.earlier, self.model.prototypes)

    @property
    def numbered(self) -> Model:
        """Tonight's model with the labels of the clusters that go on, and numbers never given."""
        labels = numbered(self.matched, self.earlier.labels, self.night.highest_label)
        return replace(self.model, labels=labels)

    def told(self, rows: np.ndarray, moved_share: float | None) -> Match:
        """What run.json says of it.

        Args:
            rows: (k,) int64 of tonight's clusters.
            moved_share: of the keys; None where it is not known.
        """
        night, labels = self.night, self.numbered.labels
        goes_on = np.flatnonzero(self.matched != NEW)
        places = self.matched[goes_on]
        theirs = [night.labels.tolist().index(label) for label in labels[goes_on]]
        prototypes = self.model.prototypes[goes_on]
        far = moves(self.earlier, places, prototypes, night.mean_costs[theirs])
        drift = [
            Drift(int(label), int(before), int(now), float(move) if np.isfinite(move) else None)
            for label, before, now, move in zip(
                labels[goes_on], night.rows[theirs], rows[goes_on], far, strict=True
            )
        ]
        return Match(
            previous=night.path,
            labels=sorted(drift, key=lambda entry: entry.label),
            new=sorted(labels[self.matched == NEW].tolist()),
            gone=sorted(set(night.labels.tolist()) - set(labels.tolist())),
            moved_share=moved_share,
            previous_cost_per_weight=night.cost_per_weight,
        )


def moved_share(attempt: Attempt, night: Night, totals: LabelTotals) -> float | None:
    """The share of the keys whose label is another than on an earlier night; None if not known.

    Says why it is not known.
    """
    plan, work = attempt.plan, attempt.work
    reason = night.cannot_join({field.name: str(field.type) for field in plan.columns.key_fields})
    if reason is None:
        rows = night.run.counts.rows + totals.all_rows
        spec = MovedSpec.of(plan.columns.keys, rows, work, plan.store)
        forget_moved(work)
        with attempt.clock.stage("moved"):
            attempt.run_alone(CountMoved(spec, _label_files(attempt, night, totals)))
        moved = take_moved(work)
        if moved.keys:
            return moved.moved / moved.keys
        reason = "no key stands once in both"
    attempt.warn(f"how many rows changed their label is not known: {reason}")
    return None


def _label_files(attempt: Attempt, night: Night, totals: LabelTotals) -> list[LabelFile]:
    """The files of both nights."""
    theirs = night.run.configuration.get("label_column", "label")
    files = [LabelFile(file, 0, theirs) for file in night.label_files]
    store, ours = attempt.work.store, attempt.plan.columns.answer[0]
    for path in totals.parts.values():
        file = store.version(path)
        if file:
            files.append(LabelFile(file, 1, ours))
    return files
