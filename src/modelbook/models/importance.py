"""How much each feature counts in a fitted model."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline

from modelbook.errors import UsageError
from modelbook.features.engineer import feature_names

_MOST_REPEATS = 5
_MOST_ROWS = 2000
_FEWEST_ROWS = 100
# As much as ten features take, seconds of a blend. A call takes its time however few the rows.
_CALLS = 500
_PREDICTIONS = 100_000


def feature_importance(
    model: Pipeline, X: pd.DataFrame, *, y: npt.NDArray[Any] | None, seed: int
) -> dict[str, float]:
    """Return the share of each feature in the model's decisions, the largest first; shares sum to 1.

    It is the estimator's own importance where it has one, the coefficients' absolute size where it is
    linear, the weighted mean of its members' where it is a blend of such, else the loss of score when the
    feature is shuffled, losses below zero counting as zero. Up to ten features are shuffled five times in
    2,000 rows at most; more of them in fewer rows, and from a hundred features on fewer times, so that about
    100,000 predictions are made, but each at least once in 100 rows.

    Args:
        model: A fitted pipeline of features and estimator.
        X: Raw columns, `(n_rows, n_columns)`.
        y: The target, `(n_rows,)`; needed only where features have to be shuffled.
        seed: The seed of the shuffling.

    Raises:
        UsageError: Features have to be shuffled and there is no target.

    Source:
        L. Breiman, "Random Forests", Machine Learning 45 (2001) 5-32, section 10.
    """
    values = _own_importance(model["estimator"])
    if values is None:
        values = _permutation_importance(model, X, y=y, seed=seed)
    total = values.sum()
    shares = values / total if total > 0 else values
    named = zip(feature_names(model["features"]), shares.tolist(), strict=True)
    return dict(sorted(named, key=lambda item: (-item[1], item[0])))


def _own_importance(estimator: Any) -> npt.NDArray[np.float64] | None:
    if hasattr(estimator, "regressor_"):
        return _own_importance(estimator.regressor_)
    if hasattr(estimator, "fitted_weights_"):
        return _blended(estimator)
    if hasattr(estimator, "feature_importances_"):
        return np.asarray(estimator.feature_importances_, dtype=np.float64)
    if hasattr(estimator, "coef_"):
        coefficients = np.abs(np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64)))
        return np.asarray(coefficients.mean(axis=0))
    return None


def _blended(blend: Any) -> npt.NDArray[np.float64] | None:
    """Return the weighted mean of the shares that the members give; None where one has none of its own."""
    total = 0.0
    for member, weight in zip(blend.fitted_, blend.fitted_weights_, strict=True):
        values = _own_importance(member)
        if values is None:
            return None
        total = total + weight * values / (values.sum() or 1.0)
    return np.asarray(total, dtype=np.float64)


def _permutation_importance(
    model: Pipeline, X: pd.DataFrame, *, y: npt.NDArray[Any] | None, seed: int
) -> npt.NDArray[np.float64]:
    if y is None:
        raise UsageError(
            f"{type(model['estimator']).__name__} has no importances of its own",
            expected="the target, to see what shuffling a feature costs",
            hint="call get_feature_importance(X, y)",
        )
    features = len(feature_names(model["features"]))
    repeats = min(max(_CALLS // features, 1), _MOST_REPEATS)
    rows = min(max(_PREDICTIONS // (repeats * features), _FEWEST_ROWS), _MOST_ROWS)
    chosen = np.random.default_rng(seed).permutation(len(X))[:rows]
    matrix = model["features"].transform(X.iloc[chosen])
    result = permutation_importance(
        model["estimator"], matrix, y[chosen], n_repeats=repeats, random_state=seed
    )
    return np.maximum(np.asarray(result.importances_mean, dtype=np.float64), 0.0)
