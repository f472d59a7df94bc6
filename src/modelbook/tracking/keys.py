"""The keys that params, metrics and tags have in MLflow, which does not take every name for one."""

import hashlib
import posixpath
import re
from collections.abc import Mapping
from typing import TypeVar

_LONGEST = 250
_REFUSED = re.compile(r"[^/\w.\- :]")
_STEPS = re.compile(r"^\.|/")

_Value = TypeVar("_Value")


def mlflow_key(name: str) -> str:
    """Return the key of a name: the name itself wherever MLflow takes it.

    A sign that is refused stands as its number in Unicode, a name that is too long ends in its own hash.

    Example:
        >>> mlflow_key("features.größe"), mlflow_key("data/orders (1).csv")
        ('features.größe', 'data/orders _x28_1_x29_.csv')
    """
    key = _REFUSED.sub(_numbered, name) or "_"
    if posixpath.normpath(key) != key or key == "." or key.startswith(("/", "..")):
        key = _STEPS.sub(_numbered, key)
    if len(key) <= _LONGEST:
        return key
    ending = f"_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return key[: _LONGEST - len(ending)] + ending


def with_mlflow_keys(values: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return values by name as values by key."""
    return {mlflow_key(name): value for name, value in values.items()}


def _numbered(sign: re.Match[str]) -> str:
    return f"_x{ord(sign[0]):X}_"
