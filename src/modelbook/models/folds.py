"""The folds of training rows, made as the split of training and test rows was."""

import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from modelbook.config import Config
from modelbook.errors import DataInvalidError, UsageError

Array = npt.NDArray[Any]

CROSS_VALIDATION = "training.cv_folds"


def folds(
    config: Config,
    X: pd.DataFrame,
    y: Array,
    *,
    count: int | None = None,
    where: str | None = CROSS_VALIDATION,
) -> Iterator[tuple[Array, Array]]:
    """Yield the row numbers of training and held-out rows of each fold.

    Classification keeps the classes' shares, as far as classes of few rows allow, unless rows are kept
    together by group or in the order of time. Rows of one time are never on both sides.

    Args:
        config: The settings.
        X: Raw columns of training rows, `(n_rows, n_columns)`.
        y: The target, `(n_rows,)`.
        count: The number of folds; None takes `training.cv_folds`.
        where: The setting that the number is from, for errors; None where fewer folds do as well, which are
            then as many as rows, groups, times and classes allow.

    Raises:
        DataInvalidError: There are too few rows, groups or times for the folds, or the training rows of a
            fold have one class only.
        UsageError: The column that the split goes by is not in X.
    """
    made = 0
    for train, held in _divided(config, X, y, count=count or config.training.cv_folds, where=where):
        if config.project.task == "regression" or len(np.unique(y[train])) > 1:
            made += 1
            yield train, held
        elif where is not None:
            raise _one_class(where)
    if not made:
        raise _one_class(where)


def _divided(
    config: Config, X: pd.DataFrame, y: Array, *, count: int, where: str | None
) -> Iterator[tuple[Array, Array]]:
    if config.split.method == "group":
        groups = pd.factorize(_split_column(config, X))[0]
        count = _possible(count, len(np.unique(groups)), f"groups in {config.split.column}", where=where)
        yield from GroupKFold(count).split(X, y, groups)
    elif config.split.method == "time":
        yield from _in_time(_split_column(config, X), count, where=where)
    else:
        count = _possible(count, len(y), "rows", where=where)
        yield from _drawn(config, y, count)


def _drawn(config: Config, y: Array, count: int) -> list[tuple[Array, Array]]:
    """Return folds drawn by `training.seed`, classes in their shares where one has a row for each fold."""
    is_classes = config.project.task == "classification"
    has_strata = is_classes and np.unique(y, return_counts=True)[1].max() >= count
    kind = StratifiedKFold if has_strata else KFold
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(kind(count, shuffle=True, random_state=config.training.seed).split(y, y))


def _in_time(column: pd.Series, count: int, *, where: str | None) -> Iterator[tuple[Array, Array]]:
    """Yield folds that are each held out after all rows of earlier times, as `TimeSeriesSplit` has them."""
    times = column.rank(method="dense").to_numpy().astype(np.int64) - 1
    n_times = int(times.max()) + 1
    count = _possible(count, n_times - 1, f"later times in {column.name}", where=where, fewest=1)
    order = np.argsort(times, kind="stable")
    size = n_times // (count + 1)
    cuts = np.searchsorted(times[order], range(n_times - count * size, n_times + 1, size))
    for start, end in pairwise(cuts):
        yield order[:start], order[start:end]


def _one_class(where: str | None) -> DataInvalidError:
    return DataInvalidError(
        "the training rows of a fold have one class only, so there is nothing to tell apart",
        where=where,
        expected="at least two classes beside the rows of each fold",
        hint="bring more rows of the other classes",
    )


def _possible(count: int, most: int, what: str, *, where: str | None, fewest: int = 2) -> int:
    """Return how many folds there can be: so many as are asked for, or fewer where those do as well."""
    needed = fewest if where is None else count
    if most >= needed:
        return min(count, most)
    hints = {None: "bring more rows", CROSS_VALIDATION: "lower it; 0 does without cross-validation"}
    raise DataInvalidError(
        "there is too little data to cross-validate",
        where=where,
        got=f"{most} {what}",
        expected=f"at least {needed}",
        hint=hints.get(where, "lower it"),
    )


def _split_column(config: Config, X: pd.DataFrame) -> pd.Series:
    if config.split.column not in X.columns:
        raise UsageError(
            "the column that the split goes by is not in X",
            where="split.column",
            got=str(config.split.column),
            hint="keep it in data.schema and in X; features.left_out keeps it out of the model",
        )
    return X[config.split.column]


def of_all_classes(probabilities: Array, known: Array, classes: Array) -> Array:
    """Return probabilities with a column for each class; one that a fold's model did not see has 0.

    Args:
        probabilities: What the model gives, `(n_rows, n_known)`.
        known: The classes that it saw, sorted.
        classes: All classes, sorted.

    Example:
        >>> of_all_classes(np.ones((1, 1)), np.array(["b"]), np.array(["a", "b"])).tolist()
        [[0.0, 1.0]]
    """
    complete = np.zeros((len(probabilities), len(classes)))
    complete[:, np.searchsorted(classes, known)] = probabilities
    return complete
