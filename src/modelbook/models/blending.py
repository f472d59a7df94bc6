"""The weights of a blend, from predictions of rows that the members were not fitted on."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import nnls
from sklearn.base import clone

from modelbook.config import Config
from modelbook.models.build import blend_settings
from modelbook.models.estimators import BLEND, thread_count
from modelbook.models.folds import folds, of_all_classes
from modelbook.models.parts import members, tell_categories
from modelbook.models.stopping import category_columns
from modelbook.models.threads import side_by_side

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

# A member that counts less is not worth fitting and predicting with.
_LEAST_WEIGHT = 0.01
# So that the weights can be written down, and the last digits of a sum do not show in them.
_DECIMALS = 4
_ROUNDS = 1000
_LEAST_PROBABILITY = 1e-15


def settle_weights(estimator: Any, config: Config, *, X: pd.DataFrame, y: Array, features: Any) -> None:
    """Give a blend the weights that predict best the rows which its members were not fitted on.

    In each of `model.hyperparameters.blend.folds` folds of training rows, features and members are fitted
    without it and predict it. Weights that the settings name are left as they are.

    Args:
        estimator: The estimator, which is changed where it is a blend.
        config: The settings.
        X: Raw columns of training rows, `(n_rows, n_columns)`.
        y: The target, `(n_rows,)`.
        features: What makes the features, unfitted.

    Raises:
        DataInvalidError: There are too few rows, groups or times for the folds.
    """
    if config.model.algorithm != BLEND or blend_settings(config).weights is not None:
        return
    if len(estimator.members) == 1:
        return
    rows, predicted = _held_out_predictions(estimator, config, X=X, y=y, features=features)
    if config.project.task == "regression":
        weights = least_squares_weights(predicted, y[rows])
    else:
        weights = likelihood_weights(predicted)
    estimator.weights = plain_weights(weights)


def least_squares_weights(predicted: Floats, y: Floats) -> Floats:
    """Return the weights, none below zero and with a sum of 1, whose mean prediction errs least, squared.

    Args:
        predicted: What each member predicts, `(n_rows, n_members)`.
        y: The target, `(n_rows,)`.

    Example:
        >>> y = np.array([1.0, 2.0, 3.0, 4.0])
        >>> noise = np.array([0.1, -0.1, -0.1, 0.1])
        >>> least_squares_weights(np.column_stack([y + noise, y - noise, -y]), y).round(6).tolist()
        [0.5, 0.5, 0.0]

    Source:
        L. Breiman, "Stacked Regressions", Machine Learning 24 (1996) 49-64. With weights w that sum to 1 the
        error is |Rw|² for the residuals R; least squares of Rw = 0 and sum(w) = 1 together, none below zero
        (C. L. Lawson and R. J. Hanson, "Solving Least Squares Problems", 1974, chapter 23), has the same
        direction, and is divided by its sum.
    """
    residuals = predicted - y[:, np.newaxis]
    spread = float(np.sqrt(np.mean(residuals**2)))
    if spread == 0:
        return np.full(predicted.shape[1], 1 / predicted.shape[1])
    triangle = np.linalg.qr(residuals / (spread * np.sqrt(len(y))), mode="r")
    system = np.vstack([triangle, np.ones(predicted.shape[1])])
    weights, _ = nnls(system, np.append(np.zeros(len(triangle)), 1.0))
    return np.asarray(weights / weights.sum())


def likelihood_weights(probabilities: Floats) -> Floats:
    """Return the weights, none below zero and with a sum of 1, whose mean probability has the least log loss.

    Args:
        probabilities: What each member gives the true class, `(n_rows, n_members)`, in [0, 1].

    Example:
        >>> likelihood_weights(np.array([[0.9, 0.5], [0.8, 0.5], [0.1, 0.5]])).round(2).tolist()
        [0.36, 0.64]

    Source:
        A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum Likelihood from Incomplete Data via the EM
        Algorithm", Journal of the Royal Statistical Society B 39 (1977) 1-38, section 4.3: the shares of a
        mixture whose components are known.
    """
    given = np.maximum(probabilities, _LEAST_PROBABILITY)
    weights = np.full(given.shape[1], 1 / given.shape[1])
    for _ in range(_ROUNDS):
        before = weights
        shares = given * weights
        weights = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(weights - before).max() < 10.0 ** -(_DECIMALS + 2):
            break
    return weights


def _held_out_predictions(
    estimator: Any, config: Config, *, X: pd.DataFrame, y: Array, features: Any
) -> tuple[Array, Floats]:
    """Return the rows that were predicted, and of each member the prediction or the true class's share."""
    rows, blocks = [], []
    count, classes = blend_settings(config).folds, np.unique(y)
    threads = thread_count(config.training.n_jobs)
    for train, held in folds(config, X, y, count=count, where=f"model.hyperparameters.{BLEND}.folds"):
        fitted = clone(features)
        matrix, others = fitted.fit_transform(X.iloc[train], y[train]), fitted.transform(X.iloc[held])
        tell_categories(estimator, category_columns(fitted))
        said = partial(_said, known=(matrix, y[train]), held_out=(others, y[held]), classes=classes)
        parts = list(members(estimator).values())
        rows.append(held)
        blocks.append(np.column_stack(side_by_side(said, parts, threads=threads)))
    return np.concatenate(rows), np.vstack(blocks)


def _said(
    member: Any, *, known: tuple[Floats, Array], held_out: tuple[Floats, Array], classes: Array
) -> Floats:
    matrix, actual = held_out
    return held_out_answer(clone(member).fit(*known), matrix, classes=classes, actual=actual)


def held_out_answer(estimator: Any, matrix: Floats, *, classes: Array, actual: Array) -> Floats:
    """Return what a fitted estimator says of rows: its prediction, or the probability of each true class.

    Args:
        estimator: The estimator.
        matrix: The rows' features, `(n_rows, n_features)`.
        classes: All classes, sorted; not looked at for regression.
        actual: The rows' target, `(n_rows,)`.
    """
    if not hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict(matrix), dtype=np.float64)
    probabilities = of_all_classes(estimator.predict_proba(matrix), estimator.classes_, classes)
    return np.asarray(probabilities[np.arange(len(actual)), np.searchsorted(classes, actual)])


def plain_weights(weights: Sequence[float] | Floats) -> list[float]:
    """Return weights as few digits with a sum of 1, those of next to no weight being 0."""
    kept = np.where(np.asarray(weights) < _LEAST_WEIGHT, 0.0, weights)
    rounded = np.round(kept / kept.sum(), _DECIMALS)
    rounded[np.argmax(rounded)] += 1.0 - rounded.sum()
    return [round(float(weight), _DECIMALS) for weight in rounded]
