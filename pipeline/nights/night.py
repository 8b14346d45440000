"""The output of an earlier night: which one is taken up, and what has changed since."""

import difflib
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from kmeans_tf import METRICS, Model
from kmeans_tf.start import INITS
from pipeline.command_line.dates import names_a_day, on
from pipeline.command_line.options import FitOptions, default_init
from pipeline.data.columns import Columns
from pipeline.data.names import figure_names
from pipeline.data.page_sums import whole_table
from pipeline.data.store import FileVersion, Store
from pipeline.errors import UsageError
from pipeline.nights.previous import find_model, load_model
from pipeline.output.publish import is_finished
from pipeline.output.run_record import RUN, RunRecord

NIGHTS_BACK = 60  # that are looked at for an output, where the one that is named has none
_PART = re.compile(r"part-\d+-of-(\d+)\.parquet")
_FILES_OF_PROTOTYPES = (".parquet", ".npy")


@dataclass(frozen=True)
class Night:
    """A finished output of `fit`.

    Attributes:
        store: where it lies.
        path: its folder.
        run: its run.json.
        labels: (k,) int32.
        rows: (k,) int64, by label.
        mean_costs: (k,) float64 costs per unit weight, in its own (scaled) units; NaN without rows.
    """

    store: Store
    path: str
    run: RunRecord
    labels: np.ndarray
    rows: np.ndarray
    mean_costs: np.ndarray

    @classmethod
    def read(cls, store: Store, path: str) -> "Night":
        """Reads an output.

        Raises:
            UsageError: it is none of `fit`, or cannot be read.
        """
        find_model(store, path, "--match")
        file = posixpath.join(path, "prototypes.parquet")
        try:
            run = RunRecord.parse(store.read(posixpath.join(path, RUN)))
            table = whole_table(store.read(file))
            names = figure_names(run.schema.features)
            label, rows, weight, cost = (table[name].to_numpy() for name in names.values())
            mean = np.divide(cost, weight, out=np.full(len(cost), np.nan), where=weight > 0)
        except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"--match {path}: not an output of fit: {reason}") from error
        return cls(store, path, run, label, rows, mean)

    @property
    def highest_label(self) -> int:
        """The highest label that was ever given, by it or those that it goes on from."""
        known = self.run.highest_label
        return int(self.labels.max()) if known is None else known

    @property
    def cost_per_weight(self) -> float:
        return self.run.result.cost / self.run.counts.weight if self.run.counts.weight else 0.0

    @property
    def seconds(self) -> float | None:
        """What it took from its process's start; None where that is not known."""
        return self.run.seconds.get("total")

    @property
    def label_files(self) -> list[FileVersion]:
        """The files of its labels that are there."""
        files = self.store.files(posixpath.join(self.path, "labels"))
        return [file for file in files if file.path.endswith(".parquet")]

    def comparable(self, options: FitOptions) -> bool:
        """Whether its costs are of the same kind."""
        return all(
            self.run.configuration.get(name) == getattr(options, name)
            for name in ("metric", "scale")
        )

    def model(self, columns: Columns) -> Model:
        """Its model, of which the features are in the order of these columns.

        Raises:
            UsageError: it is not there any more, or its metric is not known.
        """
        model = load_model(self.store, find_model(self.store, self.path, "--match"), "--match")
        if columns.is_list or set(model.features) != set(columns.features):
            return model  # by their places, as the check of its prototypes has said
        order = [model.features.index(name) for name in columns.features]
        return replace(
            model,
            prototypes=model.prototypes[:, order],
            offset=model.offset[order],
            scale=model.scale[order],
            means=None,
            features=columns.features,
        )

    def cannot_join(self, keys: dict[str, str]) -> str | None:
        """Why its labels cannot be joined on keys, which are types by name; None if they can."""
        if not keys:
            return "without --keys"
        parts = [_PART.fullmatch(posixpath.basename(file.path)) for file in self.label_files]
        if {int(part[1]) if part else None for part in parts} != {len(parts)}:
            return f"the labels of {self.path} are not all there"
        theirs = self.run.schema.keys
        for name, kind in keys.items():
            if name not in theirs:
                return f"key {name!r} is not in the labels of {self.path}"
            if theirs[name] != kind:
                return f"key {name!r} is {kind}, in {self.path} it was {theirs[name]}"
        return None


@dataclass(frozen=True)
class TakenUp:
    """What tonight goes on from.

    Attributes:
        options: in which the places are those that were found.
        night: whose labels are kept; None for none.
        warnings: what was not found.
    """

    options: FitOptions
    night: Night | None = None
    warnings: list[str] = field(default_factory=list)


def take_up(store: Store, options: FitOptions) -> TakenUp:
    """Finds the outputs that `--init` and `--match` name, or the latest before them.

    What is not there is a cold start, and a warning.

    Raises:
        UsageError: `--init` names a file that is not there, or what is almost a start's name;
            or `--match` names no output of `fit`.
    """
    warnings: list[str] = []
    init, match = options.init, None
    asked = options.match if options.match != init else None  # else it is implied
    if init not in INITS:
        found = _latest(store, "--init", init, options.day, _may_start(store), warnings)
        if found is None:
            _check_init(init)
            warnings.append(f"{_absent(store, '--init', init, options.day)}: a cold start")
        elif asked is None and is_finished(store, found) and _has_model(store, found):
            match = found
        init = found or default_init(options.optimizer)
    if asked:
        match = _latest(store, "--match", asked, options.day, _is_output(store), warnings)
        if match is None:
            warnings.append(f"{_absent(store, '--match', asked, options.day)}: labels begin anew")
    night = Night.read(store, match) if match else None
    if night:
        _check_metric(night, options.metric)
    return TakenUp(replace(options, init=init, match=match), night, warnings)


def _latest(
    store: Store,
    option: str,
    text: str,
    day: date | None,
    is_there: Callable[[str], bool],
    warnings: list[str],
) -> str | None:
    """The place that an option names, or that of the latest night before; None if none is there."""
    if day is None or not names_a_day(text):
        path = store.plain(text)
        return path if is_there(path) else None
    for missed in range(NIGHTS_BACK + 1):
        path = store.plain(on(day - timedelta(missed), text))
        if is_there(path):
            if missed:
                warnings.append(f"{_absent(store, option, text, day)}: {path} is taken instead")
            return path
    return None


def _absent(store: Store, option: str, text: str, day: date | None) -> str:
    return f"{option} {store.plain(on(day, text))}: no finished output there"


def _is_output(store: Store) -> Callable[[str], bool]:
    return lambda path: is_finished(store, path)


def _may_start(store: Store) -> Callable[[str], bool]:
    """Whether prototypes can be read at a path: a file, a finished output, or no output at all."""

    def may_start(path: str) -> bool:
        if store.version(path) or is_finished(store, path):
            return True
        names = {file.below for file in store.files(path)}
        return "prototypes.parquet" in names and RUN not in names

    return may_start


def _check_init(init: str) -> None:
    """Raises a UsageError where a start is misspelt, or what is not there is a file."""
    is_misspelt = "/" not in init and difflib.get_close_matches(init, INITS, 1)
    if init.endswith(_FILES_OF_PROTOTYPES) or is_misspelt:
        raise UsageError(f"--init {init}: no such file, nor k-means++ or random")


def _has_model(store: Store, path: str) -> bool:
    """Whether an output is of `fit`, even where something of its model is gone."""
    return bool(store.files(posixpath.join(path, "model")))


def _check_metric(night: Night, metric: str) -> None:
    """A metric of the user's own may not be there any more."""
    theirs = night.run.configuration.get("metric")
    if theirs not in METRICS and theirs != metric:
        raise UsageError(f"--match {night.path}: its --metric was {theirs}, now it is {metric}")
