"""What predictions are worth, in numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    accuracy_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from modelbook.config import METRICS, Task
from modelbook.errors import ConfigError, UsageError

Label = str | int | bool
Codes = NDArray[np.int64]
Floats = NDArray[np.float64]

_BINARY = 2
_SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)


def compute_metrics(
    task: Task,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    probabilities: ArrayLike | None = None,
    classes: Sequence[Label] = (),
    positive_class: Label | None = None,
) -> dict[str, float]:
    """Return every metric of a task; one that is not defined for these rows is NaN.

    With two classes precision, recall, F1 and ROC are about the positive class; with more they are the
    unweighted mean over the classes.

    Args:
        task: `regression` or `classification`.
        y_true: The actual values, shape `(n_rows,)`; none may be missing.
        y_pred: The predicted values, shape `(n_rows,)`. A number that is not finite makes every metric of
            regression NaN.
        probabilities: Shape `(n_rows, n_classes)`, each in [0, 1]; without them roc_auc and log_loss are NaN.
        classes: The classes in the order of the columns of `probabilities`; those that occur, sorted, if
            none are given. A class that occurs only in `y_true` has probability 0.
        positive_class: The class that binary metrics are about; None takes the last in sorted order.

    Returns:
        The metrics by the names in `METRICS[task]`, as fractions in [0, 1] but for rmse and mae (the target's
        unit), mape (percent), r2_score (at most 1) and log_loss (nats, from 0).

    Raises:
        UsageError: The lengths or shapes do not fit, there are no rows, or actual values are missing.
        ConfigError: `positive_class` is none of the two classes.

    Example:
        >>> compute_metrics("regression", [1.0, 2.0, 3.0], [1.0, 2.0, 5.0])["r2_score"]
        -1.0
    """
    actual, predicted = as_columns(y_true, y_pred)
    if task == "regression":
        return _regression_metrics(as_floats(actual), as_floats(predicted))
    model_classes = tuple(classes) or known_classes(actual, predicted)
    positive = positive_position(model_classes, positive_class)
    labels = known_classes(actual, predicted, classes=model_classes)
    codes = class_codes(actual, labels), class_codes(predicted, labels)
    scores = as_probabilities(probabilities, (len(actual), len(model_classes)), len(labels))
    return _classification_metrics(*codes, scores=scores, positive=positive)


def known_classes(*values: ArrayLike, classes: Sequence[Label] = ()) -> tuple[Label, ...]:
    """Return the given classes, followed by whatever else occurs in the values, sorted.

    Example:
        >>> known_classes(["no", "yes"], ["maybe"], classes=("yes",))
        ('yes', 'maybe', 'no')
    """
    found: set[Label] = set()
    for column in values:
        found |= set(pd.unique(pd.Series(np.asarray(column)).dropna()).tolist())
    strangers = sorted(found - set(classes), key=lambda label: (isinstance(label, str), label))
    return (*classes, *strangers)


def class_codes(values: ArrayLike, classes: Sequence[Label]) -> Codes:
    """Return the position of each value in the classes, shape `(n_rows,)`.

    Raises:
        UsageError: A value is missing or is none of the classes.

    Example:
        >>> class_codes(["b", "a", "b"], ("a", "b")).tolist()
        [1, 0, 1]
    """
    positions = {label: position for position, label in enumerate(classes)}
    codes, found = pd.factorize(np.asarray(values))
    table = np.array([positions.get(label, -1) for label in found.tolist()] + [-1], dtype=np.int64)
    translated: Codes = table[codes]
    if (translated < 0).any():
        raise UsageError(
            "labels are missing or are none of the classes",
            got=f"{int((translated < 0).sum())} such rows of {len(translated)}",
            expected=f"one of {len(classes)} classes in every row",
            hint="leave out rows without a label before evaluating",
        )
    return translated


def positive_position(classes: Sequence[Label], positive_class: Label | None = None) -> int | None:
    """Return where the positive class stands among two classes; None where there are not two.

    Raises:
        ConfigError: The positive class is none of them.

    Example:
        >>> positive_position(("no", "yes")), positive_position(("a", "b", "c"))
        (1, None)
    """
    if len(classes) != _BINARY:
        return None
    wanted = max(classes) if positive_class is None else positive_class
    if wanted not in classes:
        known = " and ".join(repr(label) for label in classes)
        raise ConfigError(
            "the positive class is none of the target's classes",
            mistakes=(f"evaluation.positive_class: got {wanted!r}, the classes are {known}",),
            hint="set it to one of them, with its type, or to null for the last in sorted order",
        )
    return classes.index(wanted)


def percentage_errors(actual: Floats, predicted: Floats) -> Floats:
    """Return the absolute errors in percent of the actual values, of the rows where these are not 0.

    Example:
        >>> percentage_errors(np.array([0.0, 2.0]), np.array([1.0, 3.0])).tolist()
        [50.0]
    """
    usable = actual != 0
    errors: Floats = 100 * np.abs((actual[usable] - predicted[usable]) / actual[usable])
    return errors


def log_losses(actual: Codes, scores: Floats) -> Floats:
    """Return the negative logarithm of the probability that each row's actual class was given, in nats.

    Args:
        actual: The actual classes as positions, shape `(n_rows,)`.
        scores: The probabilities, shape `(n_rows, n_classes)`.

    Example:
        >>> log_losses(np.array([1]), np.array([[0.0, 1.0]])).tolist()
        [-0.0]
    """
    given = scores[np.arange(len(actual)), actual]
    return -np.log(np.clip(given, _SMALLEST_PROBABILITY, 1.0))


def _regression_metrics(actual: Floats, predicted: Floats) -> dict[str, float]:
    """Return the four metrics of regression.

    Source: scikit-learn's user guide, section "Regression metrics": rmse is the square root of the mean
    squared error, mae the mean absolute error, r2_score 1 - SS_res / SS_tot. By its convention r2_score is 0
    where the actual values are all alike, and 1 if they are all met.
    """
    if not np.isfinite(predicted).all():
        return dict.fromkeys(METRICS["regression"], float("nan"))
    with np.errstate(over="ignore"):
        return {
            "rmse": float(root_mean_squared_error(actual, predicted)),
            "mae": float(mean_absolute_error(actual, predicted)),
            "r2_score": float(r2_score(actual, predicted)) if len(actual) > 1 else float("nan"),
            "mape": _mape(actual, predicted),
        }


def _mape(actual: Floats, predicted: Floats) -> float:
    """Return the mean absolute percentage error over the rows whose actual value is not 0, in percent.

    An error has no percentage of 0. scikit-learn divides by a tiny number instead, which lets one such row
    drown all others.

    Source: Hyndman and Koehler (2006), "Another look at measures of forecast accuracy", International Journal
    of Forecasting 22(4), section 2.2: mean(|100 (Y - F) / Y|), undefined where Y = 0.
    """
    errors = percentage_errors(actual, predicted)
    return float(errors.mean()) if len(errors) else float("nan")


def _classification_metrics(
    actual: Codes, predicted: Codes, *, scores: Floats | None, positive: int | None
) -> dict[str, float]:
    """Return the six metrics of classification.

    A class that is never predicted has precision 0, one that never occurs recall 0; macro means run over the
    classes that occur or are predicted.

    Source: Sokolova and Lapalme (2009), "A systematic analysis of performance measures for classification
    tasks", Information Processing & Management 45(4), tables 2 and 3 (the multiclass F1 is the mean of the
    classes' F1, as scikit-learn has it).
    """
    labels = None if positive is None else [positive]
    precision, recall, f1, _ = precision_recall_fscore_support(
        actual, predicted, labels=labels, average="macro", zero_division=0.0
    )
    return {
        "accuracy": float(accuracy_score(actual, predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": _roc_auc(actual, scores, positive),
        "log_loss": _log_loss(actual, scores),
    }


def _roc_auc(actual: Codes, scores: Floats | None, positive: int | None) -> float:
    """Return the area under the ROC curve: the mean of one class against the rest, over the classes present.

    Source: Fawcett (2006), "An introduction to ROC analysis", Pattern Recognition Letters 27(8), sections 7
    and 9; the mean is unweighted, scikit-learn's `multi_class="ovr", average="macro"`.
    """
    if scores is None:
        return float("nan")
    wanted = range(scores.shape[1]) if positive is None else [positive]
    sides = ((actual == code, scores[:, code]) for code in wanted)
    areas = [roc_auc_score(is_class, score) for is_class, score in sides if 0 < is_class.sum() < len(actual)]
    return float(np.mean(areas)) if areas else float("nan")


def _log_loss(actual: Codes, scores: Floats | None) -> float:
    """Return the mean negative log-likelihood of the actual classes, in nats.

    Probabilities below the spacing of float64 at 1 (2.2e-16) count as that, as in scikit-learn.

    Source: Bishop (2006), "Pattern Recognition and Machine Learning", equation 4.108, divided by the rows.
    """
    return float("nan") if scores is None else float(log_losses(actual, scores).mean())


def columns_of(predictions: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Return `actual`, `predicted` and, where there are any, the columns `probability_<class>` of a table.

    Example:
        >>> columns_of(pd.DataFrame({"actual": [1.0], "predicted": [2.0]}))
        (array([1.]), array([2.]), None)
    """
    rest = predictions.drop(columns=["actual", "predicted"])
    probabilities = rest.to_numpy() if len(rest.columns) else None
    return predictions["actual"].to_numpy(), predictions["predicted"].to_numpy(), probabilities


def as_columns(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return actual and predicted values as columns of one length, `(n_rows,)`.

    Raises:
        UsageError: The lengths do not fit, there are no rows, or actual values are missing.
    """
    actual, predicted = np.asarray(y_true), np.asarray(y_pred)
    if actual.ndim != 1 or actual.shape != predicted.shape or not len(actual):
        raise UsageError(
            "actual and predicted values do not fit together",
            got=f"shapes {actual.shape} and {predicted.shape}",
            expected="two columns of the same length, with at least one row",
        )
    missing = int(pd.isna(actual).sum())
    if missing:
        raise UsageError(
            "actual values are missing",
            got=f"{missing} of {len(actual)} rows without one",
            hint="leave those rows out before evaluating",
        )
    return actual, predicted


def as_floats(values: NDArray[Any]) -> Floats:
    """Return values as float64.

    Raises:
        UsageError: They are no numbers.
    """
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise UsageError(
            "regression metrics are about numbers",
            got=f"values of type {values.dtype}",
            hint="for labels set project.task to classification",
        ) from None


def as_probabilities(probabilities: ArrayLike | None, shape: tuple[int, int], n_labels: int) -> Floats | None:
    """Return probabilities with a column of zeros for each label that the model does not know.

    Args:
        probabilities: `(n_rows, n_classes)`; None, or with a value that is not finite, gives None.
        shape: What they must have.
        n_labels: The classes of the model, and those beside them that occur.

    Raises:
        UsageError: They have another shape.
    """
    if probabilities is None:
        return None
    scores = np.asarray(probabilities, dtype=np.float64)
    if scores.shape != shape:
        raise UsageError(
            "the probabilities do not fit the rows and classes",
            got=f"shape {scores.shape}",
            expected=f"shape {shape}: a row each, a column for each class",
            hint="pass the model's classes as `classes`",
        )
    if not np.isfinite(scores).all():
        return None
    return np.pad(scores, ((0, 0), (0, n_labels - shape[1])))
