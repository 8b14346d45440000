"""Whether the rows can be clustered and labelled as asked, by what the passes found out."""

from kmeans_tf import Model
from kmeans_tf.exact import LARGEST_PRODUCT, to_float
from kmeans_tf.metrics import get_metric
from kmeans_tf.points import PIECE_ELEMENTS, piece_rows
from kmeans_tf.start import INITS, PrecisionError
from kmeans_tf.summary import Summary
from pipeline.command_line.options import FitOptions
from pipeline.data.columns import Columns
from pipeline.errors import DataError, UsageError, bad_rows_error, bad_rows_text
from pipeline.passes.memory import memory_limit
from pipeline.passes.totals import LabelTotals

ESTIMATE_WARNING = 0.10
_NAMED = 5  # columns in a message
# Of k x d float64 numbers, as they were counted in a training: states, points' prototypes, totals;
# and of the rows that are taken at once, as they were measured: what was read, numbers, points.
_COPIES, _THREAD_COPIES = 8, 2
_ROW_COPIES, _THREAD_ROW_COPIES = 6, 4


def check_size(k: int, d: int, rows: int, threads: int) -> None:
    """Raises a UsageError where k prototypes, or the fewest rows at once, would fill the memory."""
    limit, at_once = memory_limit(), min(rows, piece_rows(d))
    prototypes = 8 * k * d * (_COPIES + _THREAD_COPIES * threads)
    more = max(0, at_once * d - PIECE_ELEMENTS)  # than pieces have of fewer features
    pieces = 8 * more * (_ROW_COPIES + _THREAD_ROW_COPIES * threads)
    if prototypes + pieces <= limit:
        return
    there = f"in the driver and in each worker process, and there are {_gigabytes(limit)}"
    if prototypes > pieces:
        raise UsageError(
            f"--k: {k:,} prototypes of {d:,} features, with their sums by {threads} threads, "
            f"take about {_gigabytes(prototypes)} {there}: lower --k or --threads, or name fewer "
            "--features"
        )
    raise UsageError(
        f"--features: pieces of {at_once:,} rows of {d:,} features, a few of them for each of "
        f"{threads} threads, take about {_gigabytes(pieces)} {there}: lower --threads, or name "
        "fewer --features"
    )


def _gigabytes(size: int) -> str:
    return f"{size / (1 << 30):,.1f} GB"


def check_scanned(options: FitOptions, k: int, columns: Columns, summary: Summary) -> None:
    """Raises a DataError if the rows cannot be clustered as asked."""
    if options.on_bad_row == "fail" and summary.bad_rows:
        raise bad_rows_error(summary.bad_rows, summary.rows, summary.bad)
    if options.on_bad_row == "impute":
        _check_means(columns, summary)
    distinct = len(summary.sample.ranks)
    if not distinct:
        if summary.bad_rows == summary.rows:
            raise DataError(f"all {summary.rows} rows are bad: {bad_rows_text(summary.bad)}")
        raise DataError(f"weight column {options.names.weight!r} is 0 in every good row")
    if not summary.sample.full and distinct < k and not _only_labels(options):
        raise DataError(f"--k {k}: there are only {distinct} distinct good rows")
    if wrong := summary.out_of_range():
        j, text = wrong
        raise DataError(f"column {columns.feature(j)!r} {text}")
    if get_metric(options.metric).rescale and options.scale == "none" and not _only_labels(options):
        _check_costs(options.names.weight, summary)


def _check_costs(weight: str | None, summary: Summary) -> None:
    """Weights and distances whose product is beyond what can be added are no answer to wait for."""
    if not summary.largest_cost < LARGEST_PRODUCT:
        raise DataError(
            f"--weight {weight}: weights up to {summary.largest_weight:g} of rows as far apart as "
            f"{(summary.maximum - summary.minimum).max():g} in a column make costs that are too "
            "large to be added: divide all weights by one number, or rescale the columns"
        )


def _check_means(columns: Columns, summary: Summary) -> None:
    """A column without a value has no mean to stand for what it lacks."""
    for j, weight in enumerate(summary.moments.weight if summary.moments else ()):
        if not weight:
            value = "value with a weight above 0" if columns.weight else "value"
            raise DataError(
                f"--on_bad_row impute: column {columns.feature(j)!r} has no {value} to take a mean "
                "of: leave it out of --features"
            )


def precision_error(error: PrecisionError, columns: Columns) -> DataError:
    """The message for rows that no points are fine enough for."""
    names = ", ".join(repr(columns.feature(j)) for j in error.columns[:_NAMED])
    more = len(error.columns) - _NAMED
    return DataError(
        f"column{'s' if len(error.columns) > 1 else ''} {names}"
        f"{f' and {more} more' if more > 0 else ''}: some values are too near each other, beside "
        "others too far away, for their sums in float64: leave the far ones out, or cluster them "
        "apart"
    )


def _only_labels(options: FitOptions) -> bool:
    """Whether prototypes that are given are to label and no more: there may be many of them."""
    return options.init not in INITS and not options.max_iterations


def estimate_warning(summary: Summary) -> str | None:
    """What is wrong with the sample that the start is chosen from; None if nothing is."""
    total, estimate = to_float(summary.weight), summary.sample.estimated_weight()
    if abs(estimate - total) <= ESTIMATE_WARNING * total:
        return None
    return (
        f"the sample that the start is chosen from stands for a weight of {estimate:,.0f}, "
        f"the rows weigh {total:,.0f}: some rows appear very often, and the start may "
        "miss them"
    )


def check_labelled(model: Model, totals: LabelTotals) -> None:
    """Raises a DataError if there were bad rows, and the policy is to fail."""
    if model.on_bad_row == "fail" and totals.bad_rows:
        raise bad_rows_error(totals.bad_rows, totals.all_rows, totals.bad)
