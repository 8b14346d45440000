"""The run that this one is held against: last night's, or the training of its model."""

import posixpath
from dataclasses import dataclass

import pyarrow as pa

from pipeline.data.store import Store
from pipeline.output.run_record import RUN, ClusterFigures, Compared, RunRecord
from pipeline.output.tables import Tables


@dataclass(frozen=True)
class Earlier:
    """A run and its tables, as it left them in a folder."""

    path: str
    run: RunRecord
    tables: Tables

    @classmethod
    def find(cls, store: Store, run: RunRecord) -> "Earlier | None":
        """What `run` is held against; None where that is not there, or of another form."""
        path = run.match.previous if run.match else run.configuration.get("model")
        if not path:
            return None
        try:
            if not store.version(posixpath.join(path, RUN)):
                path = posixpath.dirname(path.rstrip("/"))
            record = RunRecord.parse(store.read(posixpath.join(path, RUN)))
            return cls(path, record, Tables.read(store, path))
        except (OSError, ValueError, pa.ArrowException):
            return None

    def compared(self, run: RunRecord) -> Compared:
        """What of it the report of `run` tells."""
        record, weight = self.run, self.run.counts.weight
        return Compared(
            what="last run" if run.match else "training run",
            path=self.path,
            run_id=record.run_id,
            rows=record.counts.rows,
            bad_rows=record.counts.bad_rows,
            cost_per_weight=record.cost_per_weight,
            seconds=record.seconds.get("total"),
            costs=[c / weight for c in self.tables.history["cost"].to_pylist()] if weight else [],
            clusters=cluster_figures(self.tables.prototypes),
        )


def cluster_figures(prototypes: pa.Table) -> list[ClusterFigures]:
    """Rows and mean cost by label, of prototypes.parquet."""
    columns = (column.to_pylist() for column in prototypes.columns[:4])
    return [
        ClusterFigures(label, rows, cost / weight if weight else None)
        for label, rows, weight, cost in zip(*columns, strict=True)
    ]
