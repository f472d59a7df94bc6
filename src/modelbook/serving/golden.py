"""Golden rows: rows with what a model said of them, by which it is known again before it answers others."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from modelbook.config import ColumnType
from modelbook.records import ModelRecord, Record
from modelbook.serving.answers import Answer, Rows
from modelbook.serving.manifest import GOLDEN, refused

_MOST_ROWS = 100


class Golden(Record):
    """golden.json.

    Attributes:
        columns: The values of each input column, None where missing; times as microseconds since 1970.
        predictions: What the model said.
        probabilities: How probable it said each class was; None of what has none.
    """

    columns: dict[str, tuple[int | float | str | None, ...]]
    predictions: tuple[float | int | bool | str, ...]
    probabilities: tuple[tuple[float, ...], ...] | None

    def rows_of(self, record: ModelRecord) -> Rows:
        """Return the rows as a server reads them."""
        return {column.name: _array(self.columns[column.name], column.type) for column in record.inputs}

    def answer_of(self, record: ModelRecord) -> Answer:
        """Return what the model said of them."""
        predictions = np.array(self.predictions, dtype=np.array(record.classes or [0.0]).dtype)
        probabilities = None if self.probabilities is None else np.array(self.probabilities)
        return Answer(predictions, probabilities)


def keep_golden(rows: Rows, answer: Answer, record: ModelRecord) -> Golden:
    """Return up to 100 rows, evenly taken, with what a model says of them."""
    count = len(answer.predictions)
    at = np.unique(np.linspace(0, count - 1, min(count, _MOST_ROWS)).astype(int))
    return Golden(
        columns={each.name: tuple(_values(rows[each.name][at], each.type)) for each in record.inputs},
        predictions=tuple(answer.predictions[at].tolist()),
        probabilities=None
        if answer.probabilities is None
        else tuple(map(tuple, answer.probabilities[at].tolist())),
    )


def read_golden(folder: Path) -> Golden | None:
    """Return the golden rows of a bundle, where it has some.

    Raises:
        ModelRefusedError: Another version of Modelbook wrote them.
    """
    path = folder / GOLDEN
    try:
        return Golden.read(path) if path.is_file() else None
    except ValidationError:
        raise refused(folder, f"{GOLDEN} cannot be read by this version of Modelbook") from None


def _values(column: npt.NDArray[Any], kind: ColumnType) -> list[Any]:
    if kind == "string":
        return list(column.tolist())
    is_missing = np.isnat(column) if kind == "datetime" else np.isnan(column)
    values = column.view(np.int64) if kind == "datetime" else column
    return [None if gap else value for value, gap in zip(values.tolist(), is_missing.tolist(), strict=True)]


def _array(values: tuple[Any, ...], kind: ColumnType) -> npt.NDArray[Any]:
    if kind == "string":
        return np.array(values, dtype=object)
    if kind == "datetime":
        return np.array(["NaT" if value is None else int(value) for value in values], dtype="datetime64[us]")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
