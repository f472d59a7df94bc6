"""Metrics of weighted rows, for many weightings at once: what drawing rows again and again asks for.

A row of weight 2 counts as two rows, one of weight 0 not at all; with every weight 1 the metrics are those of
`compute_metrics`, whose definitions and sources hold here too. All but the area under the ROC curve are
functions of sums over the rows, so that many weightings are one product of matrices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelbook.config import Task
from modelbook.evaluation.metrics import (
    Label,
    as_columns,
    as_floats,
    as_probabilities,
    class_codes,
    known_classes,
    log_losses,
    percentage_errors,
    positive_position,
)

# Of a sum of squares: what is left of it where all values are the same.
_ROUNDING = 1e-12

Floats = NDArray[np.float64]
Measure = Callable[[Floats], Floats]  # weights (n_weightings, n_rows) → values (n_weightings,)


@dataclass(frozen=True, eq=False)
class SumMeasure:
    """A metric that is a function of weighted sums over the rows.

    Attributes:
        columns: What is summed, `(n_rows, n_columns)`.
        of_sums: From the sums, `(n_weightings, n_columns)`, to the metric, `(n_weightings,)`.
    """

    columns: Floats
    of_sums: Measure

    def __post_init__(self) -> None:
        """Lay each column out in one piece."""
        object.__setattr__(self, "columns", np.asfortranarray(self.columns))

    def __call__(self, weights: Floats) -> Floats:
        """Return the metric for weights, `(n_weightings, n_rows)`."""
        return self.of_sums(_sums(weights, self.columns.T))


def together(measures: Sequence[Measure]) -> Measure:
    """Return what gives all of the metrics, a column each; what several of them sum is summed once.

    Models that are measured on the same rows have more in common than not: counts, and the actual values.

    Example:
        >>> both = together([lambda weights: weights.sum(axis=1), lambda weights: weights.max(axis=1)])
        >>> both(np.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
        [[3.0, 2.0], [3.0, 3.0]]
    """
    columns: dict[bytes, int] = {}

    def places(measure: SumMeasure) -> list[int]:
        return [columns.setdefault(column.tobytes(), len(columns)) for column in measure.columns.T]

    parts = [(measure, places(measure) if isinstance(measure, SumMeasure) else []) for measure in measures]
    summed = [np.frombuffer(column) for column in columns]

    def measure(weights: Floats) -> Floats:
        sums = _sums(weights, summed)
        return np.column_stack(
            [one.of_sums(sums[:, own]) if isinstance(one, SumMeasure) else one(weights) for one, own in parts]
        )

    return measure


def weighted_metrics(
    task: Task,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    probabilities: ArrayLike | None = None,
    classes: Sequence[Label] = (),
    positive_class: Label | None = None,
    has_exact_area: bool = True,
) -> dict[str, Measure]:
    """Return, for each metric, the function that gives its value for each of many weightings of the rows.

    Args:
        task: `regression` or `classification`.
        y_true: The actual values, shape `(n_rows,)`; none may be missing.
        y_pred: The predicted values, shape `(n_rows,)`.
        probabilities: Shape `(n_rows, n_classes)`, each in [0, 1]; without them roc_auc and log_loss are
            left out.
        classes: The classes in the order of the columns of `probabilities`.
        positive_class: The class that binary metrics are about; None takes the last in sorted order.
        has_exact_area: Whether roc_auc is that of the weighted rows; otherwise it is linear in the weights
            of each side, which for many rows is much quicker and as good (`_linear_area`).

    Returns:
        Functions from weights, `(n_weightings, n_rows)`, each at least 0, to values, `(n_weightings,)`; NaN
        where a weighting leaves a metric undefined. All but an exact roc_auc are a `SumMeasure`.

    Raises:
        UsageError: The lengths or shapes do not fit, there are no rows, or actual values are missing.
        ConfigError: `positive_class` is none of the two classes.

    Example:
        >>> rmse = weighted_metrics("regression", [1.0, 2.0], [1.0, 4.0])["rmse"]
        >>> rmse(np.array([[1.0, 0.0], [0.0, 3.0]])).tolist()
        [0.0, 2.0]
    """
    actual, predicted = as_columns(y_true, y_pred)
    if task == "regression":
        return _regression(as_floats(actual), as_floats(predicted))
    known = tuple(classes) or known_classes(actual, predicted)
    positive = positive_position(known, positive_class)
    labels = known_classes(actual, predicted, classes=known)
    codes = class_codes(actual, labels), class_codes(predicted, labels)
    found = _classification(*codes, n_labels=len(labels), positive=positive)
    scores = as_probabilities(probabilities, (len(actual), len(known)), len(labels))
    if scores is None:
        return found
    wanted = range(scores.shape[1]) if positive is None else [positive]
    sides = [(codes[0] == code, scores[:, code]) for code in wanted]
    area = _mean_of([_area(*side) for side in sides]) if has_exact_area else _mean_linear_area(sides)
    return found | {"roc_auc": area, "log_loss": _mean(log_losses(codes[0], scores))}


def _regression(actual: Floats, predicted: Floats) -> dict[str, Measure]:
    error, deviation = actual - predicted, actual - actual.mean()
    squares = np.column_stack([error**2, deviation, deviation**2, np.ones_like(error)])

    def r2_score(sums: Floats) -> Floats:
        residual, shift, total, count = sums.T
        spread = total - _ratio(shift**2, count)
        return 1 - _ratio(residual, np.where(spread > _ROUNDING * total, spread, 0.0))

    mean_square = _mean(error**2)
    percentages = np.zeros((len(actual), 2))
    usable = actual != 0
    percentages[usable] = np.column_stack([percentage_errors(actual, predicted), np.ones(usable.sum())])
    return {
        "rmse": SumMeasure(mean_square.columns, lambda sums: np.sqrt(mean_square.of_sums(sums))),
        "mae": _mean(np.abs(error)),
        "r2_score": SumMeasure(squares, r2_score),
        "mape": SumMeasure(percentages, mean_square.of_sums),
    }


def _classification(
    actual: NDArray[np.int64], predicted: NDArray[np.int64], *, n_labels: int, positive: int | None
) -> dict[str, Measure]:
    labels = np.arange(n_labels) if positive is None else np.array([positive])
    is_actual, is_predicted = (codes[:, None] == labels for codes in (actual, predicted))
    counted = np.hstack([is_actual & is_predicted, is_actual, is_predicted]).astype(np.float64)

    def of_classes(share: Callable[[Floats, Floats, Floats], Floats]) -> Measure:
        def of_sums(sums: Floats) -> Floats:
            hits, present, claimed = np.split(sums, 3, axis=1)
            shares = np.nan_to_num(share(hits, present, claimed))
            counts = (present + claimed > 0) | (positive is not None)
            return _ratio((shares * counts).sum(axis=1), counts.sum(axis=1))

        return SumMeasure(counted, of_sums)

    return {
        "accuracy": _mean((actual == predicted).astype(np.float64)),
        "precision": of_classes(lambda hits, _, claimed: _ratio(hits, claimed)),
        "recall": of_classes(lambda hits, present, _: _ratio(hits, present)),
        "f1": of_classes(lambda hits, present, claimed: _ratio(2 * hits, present + claimed)),
    }


def _area(is_class: NDArray[np.bool_], score: Floats) -> Measure:
    """Return the area under the ROC curve: how much weight of other rows stands below each row of the class.

    Source: Fawcett (2006), "An introduction to ROC analysis", section 7: the area is the probability that a
    row of the class scores higher than another row, ties counting half.
    """
    others = np.flatnonzero(~is_class)
    others = others[np.argsort(score[others], kind="stable")]
    below, up_to = (np.searchsorted(score[others], score[is_class], side=side) for side in ("left", "right"))

    def measure(weights: Floats) -> Floats:
        above = np.pad(np.cumsum(weights[:, others], axis=1), ((0, 0), (1, 0)))
        own = weights[:, is_class]
        wins = (own * (above[:, below] + above[:, up_to])).sum(axis=1) / 2
        return _ratio(wins, own.sum(axis=1) * above[:, -1])

    return measure


def _linear_area(is_class: NDArray[np.bool_], score: Floats) -> SumMeasure:
    """Return the area under the ROC curve to first order in the weights.

    Each row of the class wins against a share of the others, and each other row loses against a share of the
    class. The weighted mean of each, less the area that one of them counts twice, misses the area of the
    weighted rows by a term of order 1 / n_rows, where the area itself varies by 1 / sqrt(n_rows).

    Source: DeLong, DeLong and Clarke-Pearson (1988), "Comparing the areas under two or more correlated
    receiver operating characteristic curves", Biometrics 44(3): the structural components V10 and V01.
    """
    wins = np.empty(len(score))
    for side, sign in ((is_class, 1), (~is_class, -1)):
        against = np.sort(sign * score[~side])
        own = sign * score[side]
        ranks = [np.searchsorted(against, own, side=end) for end in ("left", "right")]
        wins[side] = (ranks[0] + ranks[1]) / (2 * len(against))
    area = wins[is_class].mean()
    columns = np.column_stack([is_class * wins, is_class, ~is_class * wins, ~is_class]).astype(np.float64)

    def of_sums(sums: Floats) -> Floats:
        own, n_own, others, n_others = sums.T
        return _ratio(own, n_own) + (_ratio(others, n_others) - float(area))

    return SumMeasure(columns, of_sums)


def _sums(weights: Floats, columns: Sequence[Floats] | Floats) -> Floats:
    """Return the weighted sum of each column, `(n_weightings, n_columns)`.

    One column at a time: BLAS takes three times as long for a product with a matrix of a few columns.
    """
    sums = np.empty((len(weights), len(columns)))
    for place, column in enumerate(columns):
        sums[:, place] = weights @ column
    return sums


def _mean(values: Floats) -> SumMeasure:
    columns = np.column_stack([values, np.ones(len(values))])
    return SumMeasure(columns, lambda sums: _ratio(sums[:, 0], sums[:, 1]))


def _mean_of(measures: Sequence[Measure]) -> Measure:
    """Return the mean over the measures that a weighting defines."""

    def measure(weights: Floats) -> Floats:
        return _mean_known(np.column_stack([one(weights) for one in measures]))

    return measure


def _mean_linear_area(sides: Sequence[tuple[NDArray[np.bool_], Floats]]) -> SumMeasure:
    """Return the mean over the classes that some rows are of and others are not, as a function of sums."""
    areas = [_linear_area(*side) for side in sides if side[0].any() and not side[0].all()]
    if not areas:
        return SumMeasure(np.zeros((len(sides[0][0]), 1)), lambda sums: np.full(len(sums), np.nan))

    def of_sums(sums: Floats) -> Floats:
        parts = np.split(sums, len(areas), axis=1)
        return _mean_known(
            np.column_stack([area.of_sums(part) for area, part in zip(areas, parts, strict=True)])
        )

    return SumMeasure(np.hstack([area.columns for area in areas]), of_sums)


def _mean_known(values: Floats) -> Floats:
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))


def _ratio(part: Floats, whole: NDArray[Any]) -> Floats:
    """Return the quotients, NaN where the whole is 0."""
    shares: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return shares
