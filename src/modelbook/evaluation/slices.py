"""Groups of test rows, each held against the limits: a good average can hide a group that fares badly."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modelbook.config import SliceConfig, SliceThreshold, Task
from modelbook.errors import ConfigError
from modelbook.evaluation.difference import LEVEL
from modelbook.evaluation.gate import LOWER_IS_BETTER, is_within
from modelbook.evaluation.metrics import Label, columns_of, compute_metrics, positive_position
from modelbook.evaluation.resampling import metric_intervals
from modelbook.evaluation.weighted import SumMeasure, weighted_metrics
from modelbook.records import GateCheck

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

RESAMPLES = 2_000  # the interval only informs here: its ends vary by some 4 % of its width
_MOST_INTERVALS = 200
_MOST_NAMES = 5
_MISSING = "missing"


@dataclass(frozen=True)
class Judged:
    """What a model predicted, and what that is about.

    Attributes:
        predictions: `actual`, `predicted` and for classification `probability_<class>`, a row for each test
            row.
        task: What it predicts.
        classes: Its classes; empty for regression.
        positive_class: The class that binary metrics are about; None takes the last in sorted order.
    """

    predictions: pd.DataFrame
    task: Task
    classes: tuple[Label, ...] = ()
    positive_class: Label | None = None

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The metrics on all rows."""
        actual, predicted, probabilities = columns_of(self.predictions)
        return compute_metrics(
            self.task,
            actual,
            predicted,
            probabilities=probabilities,
            classes=self.classes,
            positive_class=self.positive_class,
        )

    def rows(self, positions: Positions) -> "Judged":
        """Return the same of some rows."""
        return Judged(self.predictions.iloc[positions], self.task, self.classes, self.positive_class)

    def intervals(
        self, metrics: set[str], *, threads: int = 1
    ) -> dict[str, tuple[float | None, float | None]]:
        """Return the ends of an interval for each of some metrics, where it is defined."""
        found = metric_intervals(
            self.predictions,
            metrics,
            task=self.task,
            classes=self.classes,
            positive_class=self.positive_class,
            resamples=RESAMPLES,
            threads=threads,
        )
        return {name: (lower, upper) for name, (_, lower, upper) in found.items()}


def judge_slices(
    judged: Judged, columns: Mapping[str, pd.Series], slices: Sequence[SliceConfig]
) -> tuple[GateCheck, ...]:
    """Return the checks of every group of every slice.

    A group that is too small, or whose rows leave a metric undefined, is not judged, which is said in a check
    of its own that neither passes nor fails. The value decides, as it does for a threshold; the interval
    says how much of it may be chance.

    Args:
        judged: What the model predicted for the test rows.
        columns: The columns of the slices, for the same rows in the same order; they need not be features.
        slices: `evaluation.gate.slices`.

    Raises:
        ConfigError: There is no such column, or it cannot be cut into bins.

    Example:
        >>> table = pd.DataFrame({"actual": [1.0, 2.0, 3.0, 4.0], "predicted": [1.0, 2.0, 4.0, 6.0]})
        >>> limits = {"mae": SliceThreshold(max=1.0)}
        >>> part = SliceConfig(column="region", min_rows=2, thresholds=limits)
        >>> regions = pd.Series(["north", "north", "south", "south"])
        >>> checks = judge_slices(Judged(table, "regression"), {"region": regions}, [part])
        >>> [(check.group, check.value, check.passed) for check in checks]
        [('region: north', 0.0, True), ('region: south', 1.5, False)]
    """
    checks: list[GateCheck] = []
    for place, part in enumerate(slices):
        if part.column not in columns:
            raise _mistake(f"slices.{place}.column", f"the test rows have no column {part.column!r}")
        groups = group_rows(columns[part.column], bins=part.bins, path=f"slices.{place}.bins")
        checks += _judge_slice(judged, groups, part)
    return tuple(checks)


def with_intervals(checks: Sequence[GateCheck], judged: Judged) -> tuple[GateCheck, ...]:
    """Return the checks of thresholds with the rows looked at, and an interval for each value."""
    ends = judged.intervals({check.metric for check in checks}) if checks else {}
    return tuple(
        check.model_copy(update={"rows": len(judged.predictions), **_interval(ends.get(check.metric))})
        for check in checks
    )


def _interval(ends: tuple[float | None, float | None] | None) -> dict[str, Any]:
    if ends is None:
        return {}
    return {"lower": ends[0], "upper": ends[1], "level": LEVEL, "resamples": RESAMPLES}


def group_rows(values: pd.Series, *, bins: int | None = None, path: str = "bins") -> dict[str, Positions]:
    """Return the positions of the rows of each group, by the group's name.

    Args:
        values: A column, `(n_rows,)`.
        bins: Into how many groups of about equal size numbers or dates are cut, each with its upper end;
            equal values stay together, so there may be fewer. None makes each value a group. Missing values
            are a group of their own.
        path: The setting to name in errors.

    Raises:
        ConfigError: What is to be cut is neither numbers nor dates.

    Example:
        >>> group_rows(pd.Series([3.0, 1.0, None, 2.0, 4.0]), bins=2)
        {'up to 2': array([1, 3]), 'above 2': array([0, 4]), 'missing': array([2])}
    """
    missing = values.isna().to_numpy()
    known = values[~missing]
    codes, names = _binned(known, bins, path) if bins else _valued(known)
    positions = np.flatnonzero(~missing)
    order = np.argsort(codes, kind="stable")
    parts = np.split(positions[order], np.searchsorted(codes[order], np.arange(1, len(names))))
    groups = {name: part for name, part in zip(names, parts, strict=True) if len(part)} if names else {}
    if missing.any():
        groups[_MISSING if _MISSING not in groups else "no value"] = np.flatnonzero(missing)
    return groups


def _valued(known: pd.Series) -> tuple[Positions, list[str]]:
    codes, values = pd.factorize(known, sort=True)
    return codes, [_spelled(value) for value in values.tolist()]


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    # Whole numbers with gaps among them come as floats.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _binned(known: pd.Series, bins: int, path: str) -> tuple[Positions, list[str]]:
    if pd.api.types.is_bool_dtype(known) or not (
        pd.api.types.is_numeric_dtype(known) or pd.api.types.is_datetime64_any_dtype(known)
    ):
        raise _mistake(
            path, f"{known.name!r} is neither a number nor a date column: its values are the groups"
        )
    column = known.to_numpy()
    if not len(column):
        return np.empty(0, dtype=np.int64), []
    shares = np.arange(1, bins) / bins
    places = np.ceil(shares * len(column)).astype(np.int64) - 1
    edges = np.unique(np.sort(column)[places])
    edges = edges[edges < column.max()]
    return np.searchsorted(edges, column, side="left"), _bin_names(edges)


def _bin_names(edges: NDArray[Any]) -> list[str]:
    if not len(edges):
        return ["any value"]
    texts = _edge_texts(edges)
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"up to {texts[0]}", *between, f"above {texts[-1]}"]


def _edge_texts(edges: NDArray[Any]) -> list[str]:
    if np.issubdtype(edges.dtype, np.datetime64):
        return [str(pd.Timestamp(edge)) for edge in edges]
    short = [f"{edge:.4g}" for edge in edges.tolist()]
    return short if len({*short}) == len(short) else [repr(edge) for edge in edges.tolist()]


def _judge_slice(judged: Judged, groups: Mapping[str, Positions], part: SliceConfig) -> Iterator[GateCheck]:
    large = {name: rows for name, rows in groups.items() if len(rows) >= part.min_rows}
    values = _values(judged, list(large.values()), set(part.thresholds))
    for place, (name, rows) in enumerate(large.items()):
        has_intervals = len(large) <= _MOST_INTERVALS
        ends = judged.rows(rows).intervals(set(part.thresholds)) if has_intervals else {}
        for metric, limits in part.thresholds.items():
            yield _check(
                metric,
                float(values[metric][place]),
                limits,
                whole=judged.metrics[metric],
                group=f"{part.column}: {name}",
                rows=len(rows),
                ends=ends.get(metric),
            )
    small = {name: len(rows) for name, rows in groups.items() if len(rows) < part.min_rows}
    if small:
        yield _unjudged(part, small)


def _values(judged: Judged, groups: Sequence[Positions], metrics: set[str]) -> dict[str, Floats]:
    """Return each metric of each group, NaN where it is not defined; sums of all groups are taken at once."""
    if not groups:
        return {metric: np.empty(0) for metric in metrics}
    actual, predicted, probabilities = columns_of(judged.predictions)
    measures = weighted_metrics(
        judged.task,
        actual,
        predicted,
        probabilities=probabilities,
        classes=judged.classes,
        positive_class=judged.positive_class,
    )
    found: dict[str, Floats] = {}
    order, starts = np.concatenate(groups), np.cumsum([0, *(len(rows) for rows in groups[:-1])])
    for metric in metrics:
        measure = measures.get(metric)
        if isinstance(measure, SumMeasure):
            found[metric] = measure.of_sums(np.add.reduceat(measure.columns[order], starts, axis=0))
        else:
            found[metric] = np.array([judged.rows(rows).metrics[metric] for rows in groups])
    return _without_conventions(judged, groups, found)


def _without_conventions(
    judged: Judged, groups: Sequence[Positions], found: dict[str, Floats]
) -> dict[str, Floats]:
    """Return the metrics without what is 0 by convention: the recall of a class that no row is of."""
    position = positive_position(judged.classes, judged.positive_class) if judged.classes else None
    if position is None or not {"recall", "precision", "f1"} & found.keys():
        return found
    positive = judged.classes[position]
    actual, predicted = (
        np.array([(column.iloc[rows] == positive).any() for rows in groups])
        for column in (judged.predictions["actual"], judged.predictions["predicted"])
    )
    defined = {"recall": actual, "precision": actual | predicted, "f1": actual | predicted}
    return {
        name: np.where(defined[name], values, np.nan) if name in defined else values
        for name, values in found.items()
    }


def _check(
    metric: str,
    value: float,
    limits: SliceThreshold,
    *,
    whole: float,
    group: str,
    rows: int,
    ends: tuple[float | None, float | None] | None,
) -> GateCheck:
    """Return the check of one group.

    Where the metric is undefined for this group alone, its rows are the reason, and it is not judged. Where
    it is undefined for all test rows, it is the model or its settings, and what was not measured fails.
    """
    least, most = _limits(metric, limits, whole)
    is_known, is_whole_known = not np.isnan(value), not np.isnan(whole)
    return GateCheck(
        name=f"{metric}_slice[{group}]",
        kind="slice",
        metric=metric,
        value=value if is_known else None,
        min=least,
        max=most,
        passed=is_within(value, least, most) if is_known else (None if is_whole_known else False),
        group=group,
        rows=rows,
        baseline=whole if is_whole_known else None,
        **_interval(ends),
        note=_note(is_known=is_known, is_whole_known=is_whole_known),
    )


def _note(*, is_known: bool, is_whole_known: bool) -> str | None:
    if is_known:
        return None
    return "the metric is not defined for these rows" if is_whole_known else "the metric was not measured"


def _limits(metric: str, limits: SliceThreshold, whole: float) -> tuple[float | None, float | None]:
    """Return the limits of a group: those that are set, and what may be worse than on all rows."""
    least, most = limits.min, limits.max
    if limits.max_worse is None or np.isnan(whole):
        return least, most
    slack = limits.max_worse * abs(whole)
    if metric in LOWER_IS_BETTER:
        return least, whole + slack if most is None else min(most, whole + slack)
    return whole - slack if least is None else max(least, whole - slack), most


def _unjudged(part: SliceConfig, small: Mapping[str, int]) -> GateCheck:
    names, further = list(small)[:_MOST_NAMES], len(small) - _MOST_NAMES
    shown = ", ".join(names) + (f" and {further:,} more" if further > 0 else "")
    said = "1 group has" if len(small) == 1 else f"{len(small):,} groups have"
    return GateCheck(
        name=f"rows_slice[{part.column}]",
        kind="slice",
        metric="rows",
        value=max(small.values()),
        min=part.min_rows,
        max=None,
        passed=None,
        group=f"{part.column}: {shown}",
        rows=sum(small.values()),
        note=f"{said} fewer than {part.min_rows} rows",
    )


def _mistake(path: str, what: str) -> ConfigError:
    return ConfigError(
        "the gate cannot judge a slice",
        mistakes=(f"evaluation.gate.{path}: {what}",),
        hint="mend it in config/config.yaml and run the command again: nothing is trained again",
    )
