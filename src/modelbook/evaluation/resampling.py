"""How sure the difference between two models is: both measured on the same rows, drawn again and again."""

import math
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from modelbook.config import Task
from modelbook.evaluation.difference import LEVEL, RESAMPLES, Difference
from modelbook.evaluation.metrics import Label, columns_of, compute_metrics
from modelbook.evaluation.weighted import Measure, SumMeasure, together, weighted_metrics

Floats = NDArray[np.float64]

_WEIGHTS_AT_ONCE = 500_000  # 4 MB, which stays near the processor
_MOST_UNITS = 100_000
_EXACT_AREA_ROWS = 10_000
_DRAWS = 65_536  # a weight takes two random bytes
_DRAWS_A_WORD = 4
_DRAWS_A_TASK = 8
_LARGEST_WEIGHT = 8  # Poisson(1) exceeds it once in 890,000 draws


def paired_differences(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    task: Task,
    classes: Sequence[Label] = (),
    positive_class: Label | None = None,
    metrics: Container[str] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    threads: int = 1,
) -> list[Difference]:
    """Return the difference in each metric between two models, with a percentile interval for it.

    Both models are measured on each resample, so what makes a row hard for both cancels out. A resample gives
    each row a weight drawn from the Poisson distribution of mean 1, which is how often a row occurs among as
    many rows drawn with replacement, but for their total.

    Two approximations keep many rows affordable. From 10,001 rows on, the area under the ROC curve is taken
    to first order in the weights (DeLong's components). From 100,001 rows on, rows share their weight with
    others in one of 100,000 blocks put together at random, which leaves the mean width of the intervals as it
    is and makes each of them vary by some 0.2 %.

    Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", sections 8.3 and 13.3; the
    weights are those of Hanley and MacGibbon (2006), "Creating non-parametric bootstrap samples using Poisson
    frequencies", Computer Methods and Programs in Biomedicine 83(1).

    Args:
        first: What the first model predicted: the columns `actual`, `predicted` and, for classification,
            `probability_<class>` in the order of `classes`; `(n_rows, n_columns)`.
        second: What the second model predicted for the same rows in the same order.
        task: What they predict.
        classes: The classes; empty for regression.
        positive_class: The class that binary metrics are about; None takes the last in sorted order.
        metrics: The metrics wanted; None takes all of the task's.
        resamples: How often the rows are drawn.
        level: The share of such intervals that hold the true difference, in (0, 1).
        seed: Of the draws; the number of threads does not show in the result.
        threads: Threads to work with.

    Returns:
        The differences, in the order of the task's metrics, without metrics that neither has.

    Example:
        >>> rows = pd.DataFrame({"actual": [1.0, 2.0, 3.0, 4.0], "predicted": [1.0, 2.5, 3.0, 4.5]})
        >>> found = paired_differences(rows, rows.assign(predicted=rows["actual"] + 1), task="regression")
        >>> [(one.metric, round(one.difference, 3), one.is_sure) for one in found][:1]
        [('rmse', 0.646, True)]
    """
    sides = [
        _side(table, task, metrics, classes=classes, positive_class=positive_class)
        for table in (first, second)
    ]
    names = [name for name in sides[0][0] if not any(math.isnan(values[name]) for values, _ in sides)]
    measures = [weighted[name] for _, weighted in sides for name in names]
    drawn = resample(len(first), measures, resamples=resamples, seed=seed, threads=threads)
    ends = percentiles(drawn[:, len(names) :] - drawn[:, : len(names)], level)
    return [
        Difference(
            metric=name,
            first=sides[0][0][name],
            second=sides[1][0][name],
            difference=sides[1][0][name] - sides[0][0][name],
            lower=lower,
            upper=upper,
            level=level,
            resamples=resamples,
        )
        for name, (lower, upper) in zip(names, ends, strict=True)
    ]


def metric_intervals(
    predictions: pd.DataFrame,
    metrics: Container[str],
    *,
    task: Task,
    classes: Sequence[Label] = (),
    positive_class: Label | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    threads: int = 1,
) -> dict[str, tuple[float, float | None, float | None]]:
    """Return the wanted metrics of one model, each with the ends of a percentile interval for it.

    The rows are drawn as in `paired_differences`, whose arguments these are. A metric that is not defined
    for the rows is left out; ends are None where no resample has the metric.

    Example:
        >>> rows = pd.DataFrame({"actual": [1.0, 2.0, 3.0, 4.0], "predicted": [1.5, 2.5, 3.5, 4.5]})
        >>> metric_intervals(rows, {"mae"}, task="regression", resamples=100)
        {'mae': (0.5, 0.5, 0.5)}
    """
    values, weighted = _side(predictions, task, metrics, classes=classes, positive_class=positive_class)
    known = {name: value for name, value in values.items() if not math.isnan(value)}
    drawn = resample(
        len(predictions), [weighted[name] for name in known], resamples=resamples, seed=seed, threads=threads
    )
    ends = percentiles(drawn, level)
    return {name: (value, *end) for (name, value), end in zip(known.items(), ends, strict=True)}


def _side(
    table: pd.DataFrame,
    task: Task,
    metrics: Container[str] | None,
    *,
    classes: Sequence[Label],
    positive_class: Label | None,
) -> tuple[dict[str, float], dict[str, Measure]]:
    """Return a model's metrics, and what measures them on weighted rows."""
    actual, predicted, probabilities = columns_of(table)
    values = compute_metrics(
        task,
        actual,
        predicted,
        probabilities=probabilities,
        classes=classes,
        positive_class=positive_class,
    )
    weighted = weighted_metrics(
        task,
        actual,
        predicted,
        probabilities=probabilities,
        classes=classes,
        positive_class=positive_class,
        has_exact_area=len(table) <= _EXACT_AREA_ROWS,
    )
    wanted = {name: value for name, value in values.items() if metrics is None or name in metrics}
    return wanted, weighted


def resample(n_rows: int, measures: Sequence[Measure], *, resamples: int, seed: int, threads: int) -> Floats:
    """Return what is measured in each resample, shape `(resamples, n_measures)`.

    Args:
        n_rows: The rows to draw from.
        measures: From weights, `(n_weightings, n_rows)`, to values.
        resamples: How often the rows are drawn.
        seed: Of the draws; the number of threads does not show in the result.
        threads: Threads to work with.

    Example:
        >>> drawn = resample(3, [lambda weights: weights.sum(axis=1)], resamples=4, seed=0, threads=1)
        >>> drawn.shape
        (4, 1)
    """
    if not measures:
        return np.empty((resamples, 0))
    blocked, n_units = _in_blocks(measures, n_rows, seed)
    at_once = max(1, min(resamples, _WEIGHTS_AT_ONCE // n_units))
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    draws = list(zip(sizes, np.random.SeedSequence(seed).spawn(len(sizes)), strict=True))
    tasks = [draws[start : start + _DRAWS_A_TASK] for start in range(0, len(draws), _DRAWS_A_TASK)]
    work = partial(_measured, n_units=n_units, measure=together(blocked))
    # One thread of BLAS for each of ours: more would wait for each other, and might sum in another order.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(work, tasks)))


def _in_blocks(measures: Sequence[Measure], n_rows: int, seed: int) -> tuple[list[Measure], int]:
    """Return the measures over what is drawn, and how much that is: rows, or blocks of many rows.

    Blocks of independent rows are independent too, and their sums are near normal, so that the variance of a
    sum over n of them is found with a relative standard error of sqrt(2 / n).
    """
    if n_rows <= _MOST_UNITS:
        return list(measures), n_rows
    order = np.random.default_rng(seed).permutation(n_rows)
    starts = np.linspace(0, n_rows, _MOST_UNITS, endpoint=False).astype(np.int64)
    return [
        SumMeasure(np.add.reduceat(measure.columns[order], starts, axis=0), measure.of_sums)
        for measure in measures
        if isinstance(measure, SumMeasure)
    ], len(starts)


def _measured(
    draws: Sequence[tuple[int, np.random.SeedSequence]], *, n_units: int, measure: Measure
) -> Floats:
    """Return what is measured, for several times as many resamples as their weights fit into memory at once.

    The weights are put where the last ones were: asking for new memory each time takes as long as the draws.
    """
    place = np.empty((draws[0][0], n_units))
    found = []
    for size, seed in draws:
        weights = _draw_weights(place[:size], seed)
        found.append(measure(weights))
    return np.concatenate(found)


def _draw_weights(place: Floats, seed: np.random.SeedSequence) -> Floats:
    """Fill an array with draws from the Poisson distribution of mean 1, exact to 1 / 65,536."""
    words = np.random.SFC64(seed).random_raw(-(-place.size // _DRAWS_A_WORD))
    draws = words.astype("<u8", copy=False).view("<u2")[: place.size]
    np.take(_POISSON, draws, out=place.reshape(-1), mode="clip")  # quicker than checking each index
    return place


def _poisson_table() -> Floats:
    """Return the weight that each pair of random bytes stands for."""
    probabilities = [math.exp(-1) / math.factorial(weight) for weight in range(_LARGEST_WEIGHT)]
    steps = np.rint(np.cumsum(probabilities) * _DRAWS)
    return np.searchsorted(steps, np.arange(_DRAWS), side="right").astype(np.float64)


_POISSON = _poisson_table()


def percentiles(drawn: Floats, level: float) -> list[tuple[float | None, float | None]]:
    """Return the ends of the middle `level` of each column, of the resamples that have the metric.

    Example:
        >>> percentiles(np.array([[0.0], [1.0], [2.0], [np.nan]]), 0.5)
        [(0.5, 1.5)]
    """
    return [_middle(column[np.isfinite(column)], level) for column in drawn.T]


def _middle(known: Floats, level: float) -> tuple[float | None, float | None]:
    if not len(known):
        return None, None
    lower, upper = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)
