"""Early stopping: how many iterations are best for training rows that were held back."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
from sklearn.base import clone

from modelbook.config import Config
from modelbook.data.split import has_strata, split_rows
from modelbook.errors import DataInvalidError
from modelbook.models.parts import inner, members

Array = npt.NDArray[Any]


def settle_iterations(estimator: Any, config: Config, *, X: pd.DataFrame, y: Array, features: Any) -> None:
    """Give everything that learns step by step the number of steps that was best for held-out training rows.

    A share of the training rows is held back, as `split` divides rows; features are fitted without them. The
    estimator is left unfitted: what is fitted with that number of steps sees every training row. Estimators
    that do not learn step by step are left as they are.

    Args:
        estimator: The estimator, which is changed.
        config: The settings; `training.early_stopping` says whether and how.
        X: Raw columns of training rows, `(n_rows, n_columns)`.
        y: The target, `(n_rows,)`.
        features: What makes the features, unfitted.

    Raises:
        DataInvalidError: There are too few rows to hold some back.

    Source:
        L. Prechelt, "Early Stopping - But When?", Neural Networks: Tricks of the Trade (1998) 55-69.
    """
    stopping = config.training.early_stopping
    parts = [part for part in members(estimator).values() or (estimator,) if _is_stepwise(inner(part))]
    if stopping is None or not parts:
        return
    train, held = inner_split(config, X, y)
    fitted = clone(features)
    matrix, others = fitted.fit_transform(X.iloc[train], y[train]), fitted.transform(X.iloc[held])
    for part in parts:
        learner = inner(part)
        if hasattr(learner, "set_categories"):
            learner.set_categories(category_columns(fitted))
        known, watched = as_learned(part, y[train], y[held])
        count = learner.best_iterations(matrix, known, held_out=(others, watched), rounds=stopping.rounds)
        learner.set_iterations(count)


def inner_split(config: Config, X: pd.DataFrame, y: Array) -> tuple[Array, Array]:
    """Return the numbers of training rows to fit on, and of those held back.

    Rows are divided as `split` says, seeded by `training.seed`. Classes keep their shares where rows are
    drawn at random; where they have too few rows for that, one row of each is fitted on, and what is held
    back is drawn from the others. Held-out rows of a class that no other row has are left out.

    Raises:
        DataInvalidError: There are too few rows, groups, times or rows of a class.
    """
    try:
        train, held = _divided(config, X, y)
    except DataInvalidError as error:
        raise _too_few(error.what, got=error.got, expected=error.expected) from error
    if config.project.task == "classification":
        held = held[np.isin(y[held], y[train])]
    if not len(held):
        raise _too_few("those that could be are of classes that no other row has")
    return train, held


def _divided(config: Config, X: pd.DataFrame, y: Array) -> tuple[Array, Array]:
    update: dict[str, Any] = {"test_size": _share(config), "seed": config.training.seed}
    if config.project.task == "classification" and config.split.method in {"random", "stratified"}:
        if not has_strata(np.unique(y, return_counts=True)[1], _share(config)):
            return _drawn(config, y)
        update["method"] = "stratified"
    divided = config.model_copy(update={"split": config.split.model_copy(update=update)})
    columns = {config.data.target: pl.Series(y)}
    if config.split.column is not None and config.split.column in X.columns:
        columns |= {config.split.column: pl.from_pandas(X[config.split.column])}
    return split_rows(pl.DataFrame(columns), divided)


def _drawn(config: Config, y: Array) -> tuple[Array, Array]:
    """Return rows drawn by `training.seed`, the first row of each class never held back."""
    spare = np.setdiff1d(np.arange(len(y)), np.unique(y, return_index=True)[1])
    shuffled = np.random.default_rng(config.training.seed).permutation(spare)
    held = np.sort(shuffled[: math.ceil(_share(config) * len(y))])
    return np.setdiff1d(np.arange(len(y)), held), held


def _share(config: Config) -> float:
    stopping = config.training.early_stopping
    return stopping.share if stopping else 0.1


def _too_few(why: str, *, got: str | None = None, expected: str | None = None) -> DataInvalidError:
    return DataInvalidError(
        f"no training rows can be held back to stop early: {why}",
        where="training.early_stopping",
        got=got,
        expected=expected,
        hint="bring more rows, or set training.early_stopping: null",
    )


def category_columns(features: Any) -> list[int]:
    """Return the positions of the matrix's columns that hold codes of categories; none for other matrices."""
    matrix = features[-1] if hasattr(features, "steps") else features
    return list(matrix.category_columns()) if hasattr(matrix, "category_columns") else []


def _is_stepwise(learner: Any) -> bool:
    return hasattr(learner, "best_iterations")


def as_learned(part: Any, y: Array, watched: Array) -> tuple[Array, Array]:
    """Return targets as what learns sees them: transformed where they are to be."""
    transformer = getattr(part, "transformer", None)
    if transformer is None:
        return y, watched
    fitted = clone(transformer).fit(y.reshape(-1, 1))
    return fitted.transform(y.reshape(-1, 1))[:, 0], fitted.transform(watched.reshape(-1, 1))[:, 0]
