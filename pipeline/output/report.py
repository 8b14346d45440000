"""Draws report.html: what a run did, on one page that needs nothing but itself.

Names from the data appear in the template only, where they are escaped; a figure holds numbers.
"""

import functools
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output import figures
from pipeline.output.earlier import cluster_figures
from pipeline.output.features import is_exact
from pipeline.output.figures import MAX_BARS, draw, is_logarithmic
from pipeline.output.profile import MAX_CLUSTERS, Profile, Values, profile
from pipeline.output.run_record import ClusterFigures, RunRecord
from pipeline.output.tables import Tables
from pipeline.output.words import (
    FILTERS,
    UNCHANGED,
    change,
    duration,
    is_said,
    number,
    percent,
    signed,
)

MAX_FEATURES = 12  # of the table of prototypes
MAX_STATISTICS = 24
MAX_BAD = 50
MAX_TRIALS = 40
_MOVED = 3  # clusters that are named for how far they have moved
_NOT_STAGES = ("iterations", "jobs", "total")
_DIGESTS = ("files", "model_content", "metric_code", "prototypes")
_GOOD, _BAD, _NOTE = "good", "bad", "note"


@dataclass(frozen=True)
class Verdict:
    """What the run comes to: good, bad or a note, and why."""

    kind: str
    title: str
    reasons: list[str]


@dataclass(frozen=True)
class Change:
    """A figure, as the run before had it, as it is now, and by how much it changed."""

    name: str
    then: str
    now: str
    change: str


@dataclass(frozen=True)
class Cluster:
    """A line of the table of clusters; figures of then are None where there was no such cluster."""

    label: int
    rows: int
    share: float
    then: float | None
    cost: float | None
    cost_then: float | None
    move: float | None


def render_report(run: RunRecord, tables: Tables) -> str:
    """Returns the HTML of the report, the same for the same arguments.

    Args:
        run: what run.json has.
        tables: those of the output.
    """
    history, prototypes = tables.history, _largest_first(tables.prototypes)
    costs, values = history["cost"].to_pylist(), Values.of(prototypes)
    clusters = cluster_table(run, prototypes)
    bad = sorted(run.counts.bad, key=lambda entry: -entry.rows)
    bad_places = sum(column.files for column in run.counts.bad_columns)
    shown = profile(values, tables.features)
    trials = _trials(run, tables.trials)
    chosen = trials["trial"].to_pylist()[trials["chosen"].to_pylist().index(True)] if trials else 0
    choose = run.configuration.get("choose") or "cost"
    html = _template().render(
        run=run,
        verdict=verdict(run),
        changes=changes(run),
        command=shlex.join(run.command),
        options={
            name: value
            for name, value in run.configuration.items()
            if is_said(value) and name not in _DIGESTS
        },
        stages=stages(run.seconds),
        total=total_seconds(run.seconds),
        pace=_pace(run.seconds),
        cost=draw(figures.cost_curve, history, run, chosen) if costs else None,
        cost_is_logarithmic=is_logarithmic(_all_costs(run, costs)),
        relocated=sum(history["relocated"].to_pylist()),
        trials=len(history["trial"].unique()),
        choose=choose,
        trial_curves=_trial_curves(trials, choose),
        trial_table=trials.slice(0, MAX_TRIALS).to_pylist() if trials else [],
        scatter=_scatter(tables.scatter),
        sizes=_sizes(run, values),
        sizes_are_ranked=len(values.rows) > MAX_BARS,
        sizes_are_logarithmic=len(values.rows) > MAX_BARS and is_logarithmic(values.rows),
        clusters=clusters[:MAX_CLUSTERS],
        cluster_count=len(clusters),
        moved_most=_moved_most(clusters),
        shares=[c.share for c in clusters],
        profile=shown,
        statistics=_statistics(tables.features, shown),
        statistics_are_exact=tables.features is not None and is_exact(tables.features),
        typical=_typical(tables.typical, [c.label for c in clusters[:MAX_CLUSTERS]]),
        table=prototype_table(values),
        bad=bad[:MAX_BAD],
        bad_left=max(bad_places, len(bad)) - len(bad[:MAX_BAD]),
    )
    # A file name that is not UTF-8 reaches Python as lone surrogates, which no file would take.
    return html.encode(errors="backslashreplace").decode()


def verdict(run: RunRecord) -> Verdict:
    """Good or bad by the gates; without gates, what there is to look at."""
    failed = [gate.text for gate in run.gates if not gate.passed]
    notes = list(run.warnings)
    if run.result.status == "max_iterations":
        iterations = number(run.result.iterations)
        notes.append(f"training stopped after {iterations} iterations, before it converged")
    if run.counts.bad_rows:
        share, rows = percent(run.counts.bad_rows / max(1, run.counts.rows)), run.counts.bad_rows
        notes.append(f"{number(rows)} bad row{'s' if rows > 1 else ''}, {share} of all")
    if failed:
        return Verdict(_BAD, f"Bad: {len(failed)} of {_counted(run.gates, 'gate')} failed", notes)
    if run.gates:
        passed = "the gate" if len(run.gates) == 1 else f"all {len(run.gates)} gates"
        return Verdict(_GOOD, f"Good: {passed} passed", notes)
    if notes:
        return Verdict(_NOTE, f"Done, with {_counted(notes, 'remark')}", notes)
    return Verdict(_GOOD, "Good: nothing to remark", [])


def changes(run: RunRecord) -> list[Change]:
    """What has changed since the run that this one is held against."""
    then, match = run.compared, run.match
    if then is None:
        return []
    # As many digits as it takes: what hardly changed must not look as if it did not at all.
    cost, rows = run.cost_per_weight, run.counts.rows
    share = run.counts.bad_rows / max(1, rows)
    share_then = then.bad_rows / max(1, then.rows)
    seconds, seconds_then = total_seconds(run.seconds), run.previous_seconds or then.seconds
    told = [
        Change(
            "cost per row" if not run.schema.weight else "cost per unit of weight",
            number(then.cost_per_weight),
            number(cost),
            change(cost, then.cost_per_weight),
        ),
        Change("rows", number(then.rows), number(rows), change(rows, then.rows)),
        Change(
            "bad rows",
            percent(share_then),
            percent(share),
            f"{signed(100 * (share - share_then), 2)} points" if share != share_then else UNCHANGED,
        ),
        Change("time", duration(seconds_then), duration(seconds), change(seconds, seconds_then)),
    ]
    if match and match.moved_share is not None:
        moved = Change("rows whose label changed", "—", percent(match.moved_share), "—")
        told.insert(1, moved)
    return told


def stages(seconds: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Each stage and its seconds; what no stage took is the last."""
    named = [
        (name, value) for name, value in seconds.items() if name not in _NOT_STAGES and value != 0
    ]
    rest = total_seconds(seconds) - sum(value or 0.0 for _, value in named)
    return [*named, ("between stages", rest)] if rest >= 0.01 else named


def total_seconds(seconds: dict[str, Any]) -> float:
    """Of the whole command, as far as its own record goes."""
    if seconds.get("total") is not None:
        return seconds["total"]
    return sum(value or 0.0 for name, value in seconds.items() if name not in _NOT_STAGES)


def _largest_first(prototypes: pa.Table) -> pa.Table:
    """The prototypes by their rows, the most first."""
    rows = prototypes.column(1).to_numpy()
    return prototypes.take(pa.array(np.argsort(-rows, kind="stable")))


def cluster_table(run: RunRecord, prototypes: pa.Table) -> list[Cluster]:
    """A line per cluster, in the order of the prototypes."""
    then = {cluster.label: cluster for cluster in run.compared.clusters} if run.compared else {}
    moves = {moved.label: moved.move for moved in run.match.labels} if run.match else {}
    now = cluster_figures(prototypes)
    total = sum(c.rows for c in now) or 1
    total_then = sum(c.rows for c in then.values()) or 1

    def line(cluster: ClusterFigures) -> Cluster:
        before = then.get(cluster.label)
        return Cluster(
            cluster.label,
            cluster.rows,
            cluster.rows / total,
            before.rows / total_then if before else None,
            _root(cluster.cost_per_weight),
            _root(before.cost_per_weight) if before else None,
            moves.get(cluster.label),
        )

    return [line(cluster) for cluster in now]


def _moved_most(clusters: Sequence[Cluster]) -> list[Cluster]:
    """Those that moved most, of some."""
    moved = sorted((c for c in clusters if c.move), key=lambda cluster: -(cluster.move or 0.0))
    return moved[:_MOVED] if len(moved) > _MOVED else []


def prototype_table(values: Values) -> dict[str, Any]:
    """Returns the first features' names, the first clusters' values, and how many there are."""
    lines = zip(values.labels[:MAX_CLUSTERS], values.values.tolist(), strict=False)
    return {
        "names": values.names[:MAX_FEATURES],
        "rows": [(label, *row[:MAX_FEATURES]) for label, row in lines],
        "features": len(values.names),
        "clusters": len(values.labels),
    }


def _root(cost: float | None) -> float | None:
    return None if cost is None or cost < 0 else math.sqrt(cost)


def _counted(things: Sequence, name: str) -> str:
    return f"{len(things)} {name}{'s' if len(things) != 1 else ''}"


def _all_costs(run: RunRecord, costs: list[float]) -> list[float]:
    weight = run.counts.weight or 1.0
    then = run.compared.costs if run.compared else []
    return [*(cost / weight for cost in [*costs, run.result.cost]), *then]


def _trials(run: RunRecord, trials: pa.Table | None) -> pa.Table | None:
    """Those of the run, with their cost per unit of weight; None where there are not several."""
    if trials is None or trials.num_rows < 2:
        return None
    cost = pc.divide(trials["cost"], run.counts.weight or 1.0)
    return trials.set_column(trials.schema.get_field_index("cost"), "cost", cost)


def _trial_curves(trials: pa.Table | None, choose: str) -> list[tuple[str, Any]]:
    """Figures of the trials over k, by name: their cost, and what the best was chosen by."""
    if trials is None:
        return []
    names = dict.fromkeys(("cost", choose))
    known = [name for name in names if trials[name].null_count < trials.num_rows]
    return [(name, draw(figures.trial_curve, trials, name, of=f"-{name}")) for name in known]


def _scatter(places: pa.Table | None) -> dict[str, Any] | None:
    if places is None or not places.num_rows:
        return None
    kinds, labels = places["kind"].to_pylist(), places["label"].to_pylist()
    return {
        "svg": draw(figures.scatter, places),
        "rows": kinds.count("row"),
        "before": "before" in kinds,
        "crosses": any(k == "row" and v < 0 for k, v in zip(kinds, labels, strict=True)),
        "labelled": kinds.count("prototype") <= MAX_BARS,
    }


def _sizes(run: RunRecord, values: Values) -> Any:
    then = {c.label: c.rows for c in run.compared.clusters} if run.compared else {}
    if not values.rows:
        return None
    if len(values.rows) > MAX_BARS:
        return draw(figures.size_curve, values.rows, list(then.values()))
    before = [then.get(label) for label in values.labels] if then else []
    return draw(figures.size_bars, values.labels, values.rows, before)


def _pace(seconds: dict[str, Any]) -> Any:
    pace = seconds.get("iterations") or []
    jobs = seconds.get("jobs") or []
    return draw(figures.seconds_per_iteration, pace, jobs) if len(pace) > 1 else None


def _statistics(features: pa.Table | None, shown: Profile | None) -> list[dict[str, Any]]:
    """Mean and the like of the features, those first that set clusters apart."""
    if features is None:
        return []
    lines = features.to_pylist()
    first = {name: i for i, name in enumerate(shown.names if shown else [])}
    return sorted(lines, key=lambda line: first.get(line["feature"], len(first)))[:MAX_STATISTICS]


def _typical(typical: pa.Table | None, labels: list[int]) -> list[tuple[int, list]]:
    """Each label with its nearest rows."""
    near: dict[int, list] = {label: [] for label in labels}
    for line in typical.to_pylist() if typical is not None else []:
        if line["label"] in near:
            near[line["label"]].append(line)
    return [(label, lines) for label, lines in near.items() if lines]


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.output", "."),
        autoescape=True,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= FILTERS
    return environment.get_template("report.html.j2")
