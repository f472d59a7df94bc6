"""What the users of a served model are told of its columns."""

import math
from typing import Any

import pandas as pd

from modelbook.config import ColumnType
from modelbook.records import InputColumn
from modelbook.serving.compiling.encoding import known_texts
from modelbook.serving.compiling.features import fitted_matrix, typical_numbers
from modelbook.serving.manifest import ServedColumn

_MOST_CATEGORIES = 100
_EXAMPLES: dict[ColumnType, float | int | bool | str] = {
    "float": 1.0,
    "integer": 1,
    "boolean": True,
    "string": "text",
    "datetime": "2026-01-31T12:00:00",
}


def told_column(column: InputColumn, pipeline: Any, golden: pd.DataFrame | None) -> ServedColumn:
    """Return what is known of a column.

    Args:
        column: The column.
        pipeline: The fitted model, which knows categories and middles.
        golden: Rows that came with it, where there are some.
    """
    values = golden[column.name].dropna() if golden is not None else pd.Series(dtype=object)
    told: dict[str, Any] = {}
    if column.type == "string" and (texts := _texts(column.name, pipeline)):
        told |= {"categories": texts, "example": texts[0]}
    if column.type in {"float", "integer"} and len(values):
        told |= {"min": float(values.min()), "max": float(values.max())}
    if len(values):
        told["example"] = _example(column, values)
    elif "example" not in told:
        told["example"] = _usual(column, pipeline)
    return ServedColumn(**column.model_dump(), **told)


def _texts(name: str, pipeline: Any) -> tuple[str, ...]:
    matrix = fitted_matrix(pipeline)
    if matrix is None or name not in matrix.categorical or matrix.encoder_ is None:
        return ()
    texts = sorted(known_texts(matrix.encoder_, list(matrix.categorical).index(name)))
    return tuple(texts) if len(texts) <= _MOST_CATEGORIES else ()


def _usual(column: InputColumn, pipeline: Any) -> float | int | bool | str:
    middle = typical_numbers(pipeline).get(column.name)
    if middle is None or column.type not in {"float", "integer"}:
        return _EXAMPLES[column.type]
    return round(middle) if column.type == "integer" else middle


def _example(column: InputColumn, values: "pd.Series[Any]") -> float | int | bool | str:
    value = values.iloc[0]
    match column.type:
        case "float":
            return float(value) if math.isfinite(value) else 1.0
        case "integer":
            return int(value)
        case "boolean":
            return bool(value)
        case "datetime":
            return str(pd.Timestamp(value).isoformat())
        case _:
            return str(value)
