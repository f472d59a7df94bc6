"""A run held against the run that it makes again: what is equal, what is not, and what that comes to."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum

import numpy as np
import polars as pl

from modelbook.records import Record, RunMetadata

TOLERANCE = 1e-6
_TINY = 1e-12


class Verdict(StrEnum):
    """What became of a run that was made again.

    `identical`: equal metrics, equal predictions on the test rows to the last bit, an equal model digest.
    `equivalent`: metrics and predictions within a relative tolerance of 1e-6. `different`: neither, or what
    the run was to be made from is not what was recorded.
    """

    IDENTICAL = "identical"
    EQUIVALENT = "equivalent"
    DIFFERENT = "different"


class Check(Record):
    """One thing that was compared.

    Attributes:
        name: What: a file of data, `config`, `code`, a metric, `predictions` or `model digest`.
        recorded: As it was recorded; None where it was not.
        reproduced: As it came out now; None where it did not.
        equal: Whether both are the same, bit for bit.
    """

    name: str
    recorded: float | str | None
    reproduced: float | str | None
    equal: bool


def compare_values(name: str, recorded: float | str | None, reproduced: float | str | None) -> Check:
    """Return the check of two values; two that are not a number are equal.

    Example:
        >>> compare_values("test_rmse", 0.5, 0.5).equal, compare_values("test_mape", math.nan, math.nan).equal
        (True, True)
    """
    are_nan = all(isinstance(value, float) and math.isnan(value) for value in (recorded, reproduced))
    equal = are_nan or recorded == reproduced
    return Check(name=name, recorded=recorded, reproduced=reproduced, equal=equal)


def compare_data(recorded: RunMetadata, reproduced: RunMetadata) -> list[Check]:
    """Return the checks of the files of data, the raw one first, by their MD5."""
    found = {version.path: version.md5 for version in reproduced.lineage.data}
    return [
        compare_values(version.path, version.md5, found.get(version.path))
        for version in recorded.lineage.data
    ]


def compare_outcomes(
    recorded: RunMetadata,
    reproduced: RunMetadata,
    *,
    predictions: tuple[pl.DataFrame | None, pl.DataFrame],
) -> list[Check]:
    """Return the checks of metrics, predictions and model.

    Args:
        recorded: The run as it was recorded.
        reproduced: The run that makes it again.
        predictions: What each predicted for the test rows; None where the record does not have that, which
            equals nothing.
    """
    metrics = [
        compare_values(name, value, reproduced.metrics.get(name)) for name, value in recorded.metrics.items()
    ]
    before, now = predictions
    rows = compare_values("predictions", None if before is None else table_digest(before), table_digest(now))
    return [*metrics, rows, compare_values("model digest", recorded.model.digest, reproduced.model.digest)]


def judge_outcomes(
    checks: list[Check], predictions: tuple[pl.DataFrame | None, pl.DataFrame], *, is_same_source: bool
) -> Verdict:
    """Return the verdict on what `compare_outcomes` found.

    Args:
        checks: Those checks.
        predictions: The predictions that they are about.
        is_same_source: Whether raw data, code and settings are those recorded.
    """
    if not is_same_source:
        return Verdict.DIFFERENT
    if all(check.equal for check in checks):
        return Verdict.IDENTICAL
    metrics = [check for check in checks if not isinstance(check.recorded, str | None)]
    is_close = all(_are_close(check.recorded, check.reproduced) for check in metrics)
    recorded, reproduced = predictions
    if is_close and recorded is not None and furthest(recorded, reproduced) <= TOLERANCE:
        return Verdict.EQUIVALENT
    return Verdict.DIFFERENT


def table_digest(table: pl.DataFrame) -> str:
    """Return a hash over a table's names, types and values: equal where these are, bit for bit.

    Example:
        >>> table_digest(pl.DataFrame({"a": [0.0]})) == table_digest(pl.DataFrame({"a": [-0.0]}))
        False
    """
    content = hashlib.sha256()
    for column in table:
        content.update(f"{column.name}:{column.dtype}:{column.len()}:{column.null_count()};".encode())
        if column.dtype.is_numeric() and not column.null_count():
            content.update(np.ascontiguousarray(column.to_numpy()).tobytes())
        else:
            content.update(repr(column.to_list()).encode())
    return content.hexdigest()


def furthest(recorded: pl.DataFrame, reproduced: pl.DataFrame) -> float:
    """Return the largest relative difference between two tables, infinite where they do not compare.

    Example:
        >>> furthest(pl.DataFrame({"a": [1.0, 2.0]}), pl.DataFrame({"a": [1.0, 2.5]}))
        0.2
    """
    if recorded.shape != reproduced.shape or recorded.columns != reproduced.columns:
        return math.inf
    return max((_column_distance(recorded[name], reproduced[name]) for name in recorded.columns), default=0.0)


def changed_settings(recorded: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    """Yield each recorded setting that is another now, as `key: from → to`.

    Settings that the record does not have are defaults of a later version, and left out.

    Example:
        >>> list(changed_settings({"split": {"seed": 1}}, {"split": {"seed": 2, "new": None}}))
        ['split.seed: 1 → 2']
    """
    missing = object()
    for key, value in recorded.items():
        other = now.get(key, missing)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from (f"{key}.{line}" for line in changed_settings(value, other))
            extra = {} if value else other
            yield from (f"{key}.{name}: absent → {entry!r}" for name, entry in extra.items())
        elif repr(value) != repr(other):
            yield f"{key}: {value!r} → {'absent' if other is missing else repr(other)}"


def _column_distance(recorded: pl.Series, reproduced: pl.Series) -> float:
    if not (recorded.dtype.is_numeric() and reproduced.dtype.is_numeric()):
        return 0.0 if recorded.to_list() == reproduced.to_list() else math.inf
    a, b = (column.cast(pl.Float64).to_numpy() for column in (recorded, reproduced))
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), _TINY)
    distance[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return float(np.nan_to_num(distance, nan=math.inf).max(initial=0.0))


def _are_close(recorded: float | str | None, reproduced: float | str | None) -> bool:
    if isinstance(recorded, float | int) and isinstance(reproduced, float | int):
        a, b = float(recorded), float(reproduced)
        return (
            a == b
            or (math.isnan(a) and math.isnan(b))
            or math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=_TINY)
        )
    return False
