"""The curves that judge probabilities: ROC, precision over recall, and calibration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from modelbook.evaluation.metrics import Codes, Floats

MAX_CLASS_CURVES = 10
_BINS = 10
_GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class Scored:
    """One class against the rest: which rows belong to it, and the probability that each was given.

    Attributes:
        name: What the curve is called.
        is_class: Shape `(n_rows,)`.
        scores: Shape `(n_rows,)`, in [0, 1].
    """

    name: str
    is_class: NDArray[np.bool_]
    scores: Floats


@dataclass(frozen=True)
class Curve:
    """A curve ready to be drawn: points, and the number that sums it up."""

    name: str
    x: Floats
    y: Floats
    area: float


def scored_classes(
    actual: Codes, scores: Floats, names: Sequence[str], *, positive: int | None
) -> tuple[Scored, ...]:
    """Return each class that can be told from the rest in these rows; of two classes, the positive one."""
    wanted = range(scores.shape[1]) if positive is None else (positive,)
    sides = (Scored(names[code], actual == code, scores[:, code]) for code in wanted)
    return tuple(side for side in sides if 0 < side.is_class.sum() < len(actual))


def summed_up(sides: Sequence[Scored], draw: Callable[[Scored], Curve]) -> tuple[Curve, ...]:
    """Return a curve for each class; beyond ten, one over all decisions (micro) and their mean (macro)."""
    if len(sides) <= MAX_CLASS_CURVES:
        return tuple(draw(side) for side in sides)
    curves = [draw(side) for side in sides]
    mean = np.mean([_on_grid(curve) for curve in curves], axis=0)
    area = float(np.mean([curve.area for curve in curves]))
    return draw(pooled(sides)), Curve(f"macro, {len(sides)} classes", _GRID, mean, area)


def pooled(sides: Sequence[Scored]) -> Scored:
    """Return every decision of class against rest as one."""
    is_class = np.concatenate([side.is_class for side in sides])
    return Scored(f"micro, {len(sides)} classes", is_class, np.concatenate([side.scores for side in sides]))


def roc(side: Scored) -> Curve:
    """Return the true positive rate over the false positive rate, and the area under it.

    Source: Fawcett (2006), "An introduction to ROC analysis", Pattern Recognition Letters 27(8).

    Example:
        >>> side = Scored("yes", np.array([False, True, True]), np.array([0.1, 0.4, 0.8]))
        >>> roc(side).area
        1.0
    """
    false_rate, true_rate, _ = roc_curve(side.is_class, side.scores)
    return Curve(side.name, false_rate, true_rate, float(auc(false_rate, true_rate)))


def precision_over_recall(side: Scored) -> Curve:
    """Return precision over recall, recall ascending, and the average precision.

    Source: Davis and Goadrich (2006), "The relationship between precision-recall and ROC curves", ICML;
    average precision is the sum of precision times the step in recall, as in scikit-learn.
    """
    precision, recall, _ = precision_recall_curve(side.is_class, side.scores)
    area = float(average_precision_score(side.is_class, side.scores))
    return Curve(side.name, recall[::-1], precision[::-1], area)


def calibration(side: Scored) -> Curve:
    """Return the observed frequency over the mean probability, in ten bins of equal width.

    The area is the expected calibration error: the bins' mean distance from the diagonal, weighted by rows.

    Source: Niculescu-Mizil and Caruana (2005), "Predicting good probabilities with supervised learning",
    ICML, section 4 (reliability diagram); Naeini, Cooper and Hauskrecht (2015), "Obtaining well calibrated
    probabilities using Bayesian binning", AAAI (the error).
    """
    bins = np.minimum((side.scores * _BINS).astype(np.int64), _BINS - 1)
    rows = np.bincount(bins, minlength=_BINS)
    used = rows > 0
    expected = np.bincount(bins, weights=side.scores, minlength=_BINS)[used] / rows[used]
    observed = np.bincount(bins, weights=side.is_class, minlength=_BINS)[used] / rows[used]
    error = float((np.abs(observed - expected) * rows[used]).sum() / len(bins))
    return Curve(side.name, expected, observed, error)


def _on_grid(curve: Curve) -> Floats:
    heights: Floats = np.interp(_GRID, curve.x, curve.y)
    return heights
