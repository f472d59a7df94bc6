"""What MLflow says of something that it does not have."""

from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

# An alias that no version has, and an id that cannot be one, are wrong parameters to MLflow.
ABSENT_CODES = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})


def is_absent(error: BaseException) -> bool:
    """Return whether an error says that MLflow does not have what it was asked for."""
    return getattr(error, "error_code", None) in ABSENT_CODES


def or_none(ask: Callable[[], _T]) -> _T | None:
    """Return what MLflow answers; None where it does not have what it is asked for.

    Args:
        ask: Asks one thing of MLflow's client; every other error is raised as it is.

    Example:
        >>> or_none(lambda: "a run")
        'a run'
    """
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if not is_absent(error):
            raise
        return None
