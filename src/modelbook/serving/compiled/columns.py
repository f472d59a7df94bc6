"""From rows as a server reads them to the numbers that steps are made of."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbook.config import ColumnType
from modelbook.errors import DataInvalidError
from modelbook.serving.answers import Rows
from modelbook.serving.compiled.plan import TextColumn

Floats = npt.NDArray[np.float64]

TIME_PLACES = 3
_MICROSECONDS_PER_DAY = 86_400_000_000
_LARGEST_WHOLE = 2.0**53


class Columns:
    """Reads rows into one matrix: numbers and truth values, then texts by their codes, then times.

    The code of a text is its place among the known ones; that of an unknown one is their number, and a
    missing one comes behind that. A time takes three places: its days and microseconds, and all of it as
    days with their fraction.

    Args:
        numbers: Number columns.
        truths: True-or-false columns.
        texts: Text columns with the texts that are known.
        times: Time columns.
        more: Places left free behind all of these.

    Attributes:
        width: How many places there are.
    """

    def __init__(
        self,
        *,
        numbers: Sequence[str],
        truths: Sequence[str],
        texts: Sequence[TextColumn],
        times: Sequence[str],
        more: int,
    ) -> None:
        self._numbers = list(enumerate([*numbers, *truths]))
        self._truths = list(truths)
        first = len(self._numbers)
        self._texts = [(first + at, column.name, _codes(column)) for at, column in enumerate(texts)]
        first += len(texts)
        self._times = [(first + TIME_PLACES * at, name) for at, name in enumerate(times)]
        self.width = first + TIME_PLACES * len(times) + more
        self._known = self._numbers[0][1] if numbers or truths else (texts[0].name if texts else times[0])

    def read(self, rows: Rows) -> Floats:
        """Return the values, `(n_rows, n_values)`.

        Raises:
            DataInvalidError: A true-or-false column has another number than 0 or 1.
        """
        values = np.empty((len(rows[self._known]), self.width))
        for at, name in self._numbers:
            values[:, at] = rows[name]
        for at, name, code in self._texts:
            values[:, at] = [code(value) for value in rows[name].tolist()]
        for at, name in self._times:
            _write_time(values[:, at : at + TIME_PLACES], rows[name])
        for name in self._truths:
            _check_truths(name, rows[name])
        return values


def _codes(column: TextColumn) -> Callable[[Any], float]:
    known = {text: float(code) for code, text in enumerate(column.categories)}
    unknown, missing = float(len(known)), float(len(known) + 1)
    if column.type == "string":
        codes: dict[Any, float] = {None: missing} | known
        return lambda value: codes.get(value, unknown)
    return lambda value: known.get(text_of(value, column.type), unknown) if value == value else missing  # noqa: PLR0124


def text_of(value: float, kind: ColumnType) -> str:
    """Return a number or truth value as the category that training saw it as.

    Example:
        >>> text_of(3.0, "integer"), text_of(2.5, "float"), text_of(1.0, "boolean")
        ('3', '2.5', 'True')
    """
    if kind == "boolean":
        return str(bool(value))
    return str(int(value)) if value.is_integer() and abs(value) <= _LARGEST_WHOLE else str(value)


def _write_time(places: Floats, times: npt.NDArray[np.datetime64]) -> None:
    microseconds = times.view(np.int64)
    places[:, 0], places[:, 1] = np.divmod(microseconds, _MICROSECONDS_PER_DAY)
    places[:, 2] = microseconds / _MICROSECONDS_PER_DAY
    places[np.isnat(times)] = np.nan


def _check_truths(name: str, values: Floats) -> None:
    if not ((values == 0) | (values == 1) | np.isnan(values)).all():
        raise DataInvalidError("a value is neither true nor false", where=f"column {name!r}")
