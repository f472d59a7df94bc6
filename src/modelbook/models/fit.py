"""One pipeline from raw columns to predictions, fitted with threads and left to predict without them."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from modelbook.config import Config
from modelbook.errors import ConfigError, DataInvalidError, ModelbookError
from modelbook.features.engineer import FeatureEngineer, transform_errors
from modelbook.models.blending import settle_weights
from modelbook.models.build import build_estimator, hyperparameter_error
from modelbook.models.estimators import distributions, thread_count
from modelbook.models.parts import tell_categories
from modelbook.models.stopping import category_columns, settle_iterations
from modelbook.models.target import check_target

_THREADS = ("n_jobs", "n_threads")


def fit_pipeline(
    config: Config, X: pd.DataFrame, *, y: npt.NDArray[Any], transformer: BaseEstimator | None = None
) -> Pipeline:
    """Return a fitted pipeline of the features and the estimator.

    Early stopping and the weights of a blend are settled on training rows first; what is then fitted on all
    of them is what a fit with those settings makes. No library takes more threads for it than
    `training.n_jobs` says, whatever the machine has: BLAS sums in another order with another number. Every
    `n_jobs` in the pipeline is 1 afterwards: predictions summed by one thread are the same to the last digit.

    Args:
        config: The settings.
        X: Raw columns of training rows, `(n_rows, n_columns)`.
        y: The target, `(n_rows,)`.
        transformer: What makes the features, cloned; None builds it from the settings.

    Raises:
        ConfigError: The settings do not make a model, or the user's own code fails.
        DataInvalidError: Columns are missing or hold values of another type, or the target or the number of
            rows does not suit the settings.
    """
    features = FeatureEngineer(config).build() if transformer is None else clone(transformer)
    pipeline = Pipeline([("features", features), ("estimator", build_estimator(config))])
    check_target(config, y)
    try:
        with transform_errors(config), threadpool_limits(thread_count(config.training.n_jobs)), quietly():
            _fit(pipeline, config, X=X, y=y)
    except ModelbookError:
        raise
    except Exception as error:
        if not _is_about_settings(error, config):
            raise
        raise estimator_error(config, error) from error
    set_single_threaded(pipeline)
    return pipeline


def _fit(pipeline: Pipeline, config: Config, *, X: pd.DataFrame, y: npt.NDArray[Any]) -> None:
    """Fit step by step: which columns of the matrix are categories is known when the features are fitted."""
    features, estimator = pipeline["features"], pipeline["estimator"]
    settle_iterations(estimator, config, X=X, y=y, features=features)
    settle_weights(estimator, config, X=X, y=y, features=features)
    matrix = features.fit_transform(X, y)
    tell_categories(estimator, category_columns(features))
    estimator.fit(matrix, y)


@contextmanager
def quietly() -> Iterator[None]:
    """Do without being told that rows are fewer than quantiles, or that a network took all of its passes.

    It is for whole fits, whose threads share one list of filters.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_quantiles .* is greater than")
        warnings.filterwarnings("ignore", message="Stochastic Optimizer: Maximum iterations")
        yield


def estimator_error(config: Config, error: Exception) -> ConfigError | DataInvalidError:
    """Return what an estimator said about its settings or about gaps in the features as an error of ours."""
    if "All features are either constant or ignored" in str(error):
        return DataInvalidError(
            f"{config.model.algorithm} has nothing to learn from",
            where="features",
            got="columns that have the same value in every training row",
            hint="take another algorithm, or columns that differ between rows",
        )
    if "contains NaN" not in str(error):
        return hyperparameter_error(config, error)
    return DataInvalidError(
        f"{config.model.algorithm} cannot take missing values",
        where="features.numeric.impute",
        got=config.features.numeric.impute,
        expected="median, mean or zero, or an algorithm that takes missing values",
        hint="set features.numeric.impute: median",
    )


def set_single_threaded(estimator: Any) -> None:
    """Set every `n_jobs` and `n_threads` of a fitted estimator, and of the estimators inside it, to 1."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, BaseEstimator):
            given = value.get_params(deep=False)
            value.set_params(**{name: 1 for name in _THREADS if given.get(name) is not None})
            waiting.extend(vars(value).values())
        else:
            waiting.extend(_members(value))


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def _is_about_settings(error: Exception, config: Config) -> bool:
    package = type(error).__module__.partition(".")[0].lstrip("_")
    return isinstance(error, ValueError) or package in distributions(config)
