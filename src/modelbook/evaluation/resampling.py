"""How sure the difference between two models is: both measured on the same rows, drawn again and again."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modelbook.config import Task
from modelbook.evaluation.gate import LOWER_IS_BETTER
from modelbook.evaluation.metrics import Label, columns_of, compute_metrics
from modelbook.evaluation.weighted import Measure, weighted_metrics
from modelbook.records import Record

RESAMPLES = 10_000
LEVEL = 0.95

Floats = NDArray[np.float64]

_WEIGHTS_AT_ONCE = 2_000_000  # 16 MB
_DRAWS = 65_536  # a weight takes two random bytes
_LARGEST_WEIGHT = 8  # Poisson(1) exceeds it once in 890,000 draws


class Difference(Record):
    """What a metric of one model is above that of another, on the same rows.

    Attributes:
        metric: The metric.
        first: Its value for the first model.
        second: Its value for the second model.
        difference: The second value less the first.
        lower: The lower end of the interval for the difference; None where no resample has the metric.
        upper: The upper end.
        level: The share of such intervals that hold the true difference, in (0, 1).
        resamples: How often the rows were drawn.
    """

    metric: str
    first: float
    second: float
    difference: float
    lower: float | None
    upper: float | None
    level: float = LEVEL
    resamples: int = RESAMPLES

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.lower is not None and self.upper is not None and (self.lower > 0 or self.upper < 0)

    @property
    def judgement(self) -> str:
        """What the interval says of the second model: `better`, `worse`, `the same` or `not sure`."""
        if self.lower == self.upper == 0:
            return "the same"
        if not self.is_sure:
            return "not sure"
        return "better" if (self.difference < 0) == (self.metric in LOWER_IS_BETTER) else "worse"


def paired_differences(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    task: Task,
    classes: Sequence[Label] = (),
    positive_class: Label | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    threads: int = 1,
) -> list[Difference]:
    """Return the difference in each metric between two models, with a percentile interval for it.

    Both models are measured on each resample, so what makes a row hard for both cancels out. A resample gives
    each row a weight drawn from the Poisson distribution of mean 1, which is how often a row occurs among as
    many rows drawn with replacement, but for their total.

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
    sides = [_side(table, task, classes=classes, positive_class=positive_class) for table in (first, second)]
    names = [name for name in sides[0][0] if not any(math.isnan(values[name]) for values, _ in sides)]
    measures = [[weighted[name] for name in names] for _, weighted in sides]
    drawn = _resample(len(first), measures, resamples=resamples, seed=seed, threads=threads)
    ends = _percentiles(drawn, level)
    return [
        Difference(
            metric=name,
            first=sides[0][0][name],
            second=sides[1][0][name],
            difference=sides[1][0][name] - sides[0][0][name],
            lower=ends[0][place],
            upper=ends[1][place],
            level=level,
            resamples=resamples,
        )
        for place, name in enumerate(names)
    ]


def _side(
    table: pd.DataFrame, task: Task, *, classes: Sequence[Label], positive_class: Label | None
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
    )
    return values, weighted


def _resample(
    n_rows: int, measures: list[list[Measure]], *, resamples: int, seed: int, threads: int
) -> Floats:
    """Return the differences in each resample, shape `(resamples, n_metrics)`."""
    at_once = max(1, min(resamples, _WEIGHTS_AT_ONCE // n_rows))
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))
    work = partial(_differences, n_rows=n_rows, measures=measures)
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(work, sizes, seeds)))


def _differences(
    size: int, seed: np.random.SeedSequence, *, n_rows: int, measures: list[list[Measure]]
) -> Floats:
    weights = _poisson_weights((size, n_rows), seed)
    first, second = (np.column_stack([measure(weights) for measure in side]) for side in measures)
    return second - first


def _poisson_weights(shape: tuple[int, int], seed: np.random.SeedSequence) -> Floats:
    """Return draws from the Poisson distribution of mean 1, exact to 1 / 65,536 in each probability."""
    random = np.random.Generator(np.random.SFC64(seed))
    draws = np.frombuffer(random.bytes(2 * shape[0] * shape[1]), dtype="<u2")
    weights: Floats = _POISSON[draws].reshape(shape)
    return weights


def _poisson_table() -> Floats:
    """Return the weight that each pair of random bytes stands for."""
    probabilities = [math.exp(-1) / math.factorial(weight) for weight in range(_LARGEST_WEIGHT)]
    steps = np.rint(np.cumsum(probabilities) * _DRAWS)
    return np.searchsorted(steps, np.arange(_DRAWS), side="right").astype(np.float64)


_POISSON = _poisson_table()


def _percentiles(drawn: Floats, level: float) -> tuple[list[float | None], list[float | None]]:
    """Return the ends of the middle `level` of each column, of the resamples that have the metric."""
    lower: list[float | None] = []
    upper: list[float | None] = []
    for column in drawn.T:
        known = column[np.isfinite(column)]
        ends = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if len(known) else [None, None]
        lower.append(None if ends[0] is None else float(ends[0]))
        upper.append(None if ends[1] is None else float(ends[1]))
    return lower, upper
