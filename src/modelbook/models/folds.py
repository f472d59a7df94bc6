"""The folds of training rows, made as the split of training and test rows was."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

from modelbook.config import Config
from modelbook.errors import DataInvalidError, UsageError

Array = npt.NDArray[Any]


def folds(
    config: Config,
    X: pd.DataFrame,
    y: Array,
    *,
    count: int | None = None,
    where: str = "training.cv_folds",
) -> Iterator[tuple[Array, Array]]:
    """Yield the row numbers of training and held-out rows of each fold.

    Classification keeps the classes' shares, unless rows are kept together by group or in the order of time.

    Args:
        config: The settings.
        X: Raw columns of training rows, `(n_rows, n_columns)`.
        y: The target, `(n_rows,)`.
        count: The number of folds; None takes `training.cv_folds`.
        where: The setting that the number is from, for errors.

    Raises:
        DataInvalidError: There are too few rows, groups or rows of a class for the folds.
        UsageError: The column that the split goes by is not in X.
    """
    count, seed = count or config.training.cv_folds, config.training.seed
    _need(len(y), count, "rows", where=where)
    if config.split.method == "group":
        groups = pd.factorize(_split_column(config, X))[0]
        _need(len(np.unique(groups)), count, f"groups in {config.split.column}", where=where)
        yield from GroupKFold(count).split(X, y, groups)
    elif config.split.method == "time":
        _need(len(y), count + 1, "rows", where=where)
        order = np.argsort(_split_column(config, X).to_numpy(), kind="stable")
        for train, test in TimeSeriesSplit(count).split(order):
            yield order[train], order[test]
    elif config.project.task == "classification":
        rarest = int(np.unique(y, return_counts=True)[1].min())
        _need(rarest, count, "rows of the rarest class", where=where)
        yield from StratifiedKFold(count, shuffle=True, random_state=seed).split(X, y)
    else:
        yield from KFold(count, shuffle=True, random_state=seed).split(X)


def _need(got: int, count: int, what: str, *, where: str) -> None:
    if got < count:
        raise DataInvalidError(
            "there is too little data to cross-validate",
            where=where,
            got=f"{got} {what}",
            expected=f"at least {count}",
            hint=f"lower {where}; training.cv_folds: 0 does without cross-validation",
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
