"""The target as an array that estimators take."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelbook.config import Config, Task
from modelbook.errors import DataInvalidError


def target_array(y: Any, task: Task) -> npt.NDArray[Any]:
    """Return the target as float64 for regression; as text, integers or truth values for classification.

    Args:
        y: The target, `(n_rows,)`; no value may be missing.
        task: What it is predicted as.

    Raises:
        DataInvalidError: Values are missing or, for regression, no finite numbers; for classification they
            are fractions.

    Example:
        >>> target_array(pd.Series([1, 2]), "regression")
        array([1., 2.])
        >>> target_array(pd.Series(["no", "yes"]), "classification")
        array(['no', 'yes'], dtype='<U3')
    """
    column = pd.Series(y)
    name = str(column.name) if column.name is not None else "the target"
    if not len(column):
        raise DataInvalidError("there are no rows to train on", where=name)
    if missing := int(column.isna().sum()):
        raise DataInvalidError(
            "the target has missing values",
            where=name,
            got=f"{missing} of {len(column)} rows",
            hint="take these rows out: a model cannot learn from them",
        )
    return _numbers(column, name) if task == "regression" else _labels(column, name)


def check_target(config: Config, y: npt.NDArray[Any]) -> None:
    """Return quietly where a target can be learned, transformed as `training.target_transform` says.

    Args:
        config: The settings.
        y: The target of training rows, `(n_rows,)`.

    Raises:
        DataInvalidError: There is one class only, or values below zero are to have a logarithm.
    """
    if config.project.task == "classification" and len(np.unique(y)) == 1:
        raise DataInvalidError(
            "the target has one class only",
            where=f"data.target: {config.data.target}",
            expected="at least two classes to tell apart",
        )
    if config.training.target_transform == "log" and (y < 0).any():
        raise DataInvalidError(
            "the target has values below zero, which have no logarithm",
            where=f"training.target_transform: log, data.target: {config.data.target}",
            got=f"{int((y < 0).sum())} of {len(y)} rows below zero",
            expected="a target of zero or more",
            hint="set training.target_transform: quantile or none",
        )


def _numbers(column: pd.Series, name: str) -> npt.NDArray[np.float64]:
    try:
        numbers = column.to_numpy(dtype=object).astype(np.float64)
    except (TypeError, ValueError):
        raise DataInvalidError(
            "the target is not a number",
            where=name,
            expected="numbers, as project.task is regression",
            hint="set project.task: classification, or name another data.target",
        ) from None
    if not np.isfinite(numbers).all():
        raise DataInvalidError("the target has infinite values", where=name, expected="finite numbers")
    return numbers


def _labels(column: pd.Series, name: str) -> npt.NDArray[Any]:
    labels = np.array(column.tolist())
    if labels.dtype.kind == "f" and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biuU":
        raise DataInvalidError(
            "the target has no classes",
            where=name,
            got=f"values of type {labels.dtype}",
            expected="text, integers or true and false, as project.task is classification",
            hint="set project.task: regression, or name another data.target",
        )
    return labels
