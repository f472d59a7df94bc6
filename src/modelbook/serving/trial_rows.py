"""Rows to try a model on: those that came with it as a server reads them, and rows drawn at random."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelbook.config import ColumnType
from modelbook.records import InputColumn, ModelRecord
from modelbook.serving.answers import Answer, Rows

Floats = npt.NDArray[np.float64]

_GAPS = 0.06
_SPREAD = 0.5
_LARGEST_WHOLE = 2.0**53
_UNUSUAL = (0.0, 1.0, -1.0, 0.5, -273.15, 1e6, 1e39, -1e39)
_UNKNOWN = "a text that no table has \U0001f3e0"
_FIRST_TIME, _LAST_TIME = (np.datetime64(day, "us").astype(np.int64) for day in ("1899-12-30", "2101-01-02"))


def rows_of(table: pd.DataFrame, inputs: Sequence[InputColumn]) -> Rows:
    """Return a table as a server reads it from a request.

    Example:
        >>> inputs = [InputColumn(name="rooms", type="integer", nullable=True)]
        >>> rows_of(pd.DataFrame({"rooms": [3, None]}), inputs)["rooms"].tolist()
        [3.0, nan]
    """
    return {column.name: _array(table[column.name], column.type) for column in inputs}


def recorded_answer(table: pd.DataFrame, record: ModelRecord) -> Answer:
    """Return what was recorded of rows, as `predicted` and `probability_<class>`."""
    dtype = np.array(record.classes or [0.0]).dtype
    predictions = np.array(table["predicted"].tolist(), dtype=dtype)
    names = [f"probability_{label}" for label in record.classes]
    has_probabilities = bool(names) and set(names) <= set(table.columns)
    return Answer(predictions, table[names].to_numpy(np.float64) if has_probabilities else None)


def drawn_rows(
    record: ModelRecord,
    *,
    typical: Mapping[str, float],
    texts: Mapping[str, Sequence[str]],
    count: int,
    strange: float,
    seed: int = 0,
) -> Rows:
    """Return rows drawn at random: usual numbers, known texts and one that is not, any time.

    Args:
        record: The model.
        typical: For number columns, a number in the middle of what training saw, where it is known.
        texts: For text columns, the texts that the model knows.
        count: The number of rows.
        strange: The share of numbers that are unusual; where there are such, values are missing, too.
        seed: Where to begin drawing.
    """
    random = np.random.default_rng(seed)
    rows: dict[str, npt.NDArray[Any]] = {}
    for column in record.inputs:
        if column.type in {"float", "integer"}:
            values = _numbers(typical.get(column.name, 1.0), random, count, strange=strange)
            is_whole = column.type == "integer"
            rows[column.name] = (
                np.clip(np.round(values), -_LARGEST_WHOLE, _LARGEST_WHOLE) if is_whole else values
            )
        else:
            rows[column.name] = _others(column, random, count, texts=texts.get(column.name, ()))
        if strange:
            rows[column.name][random.random(count) < _GAPS] = _gap(column.type)
    return rows


def _numbers(typical: float, random: np.random.Generator, count: int, *, strange: float) -> Floats:
    usual = typical * np.exp(random.normal(0.0, _SPREAD, count))
    return np.where(random.random(count) < strange, random.choice(_UNUSUAL, count), usual)


def _others(
    column: InputColumn, random: np.random.Generator, count: int, *, texts: Sequence[str]
) -> npt.NDArray[Any]:
    if column.type == "string":
        return np.array(random.choice([*texts, _UNKNOWN], count), dtype=object)
    if column.type == "datetime":
        return random.integers(_FIRST_TIME, _LAST_TIME, count).astype("datetime64[us]")
    return random.integers(0, 2, count).astype(np.float64)


def _gap(kind: ColumnType) -> Any:
    if kind == "string":
        return None
    return np.datetime64("NaT") if kind == "datetime" else np.nan


def _array(column: "pd.Series[Any]", kind: ColumnType) -> npt.NDArray[Any]:
    is_missing = column.isna().to_numpy(dtype=bool)
    if kind == "datetime":
        return pd.to_datetime(column).to_numpy(dtype="datetime64[us]")
    objects = column.to_numpy(dtype=object, copy=True)
    objects[is_missing] = _gap(kind)
    return objects if kind == "string" else objects.astype(np.float64)
