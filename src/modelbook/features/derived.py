"""Columns made from columns: parts of dates, ratios, interactions, curves and counts.

This file travels with each model, so that the model can be loaded without Modelbook: it imports NumPy, pandas
and scikit-learn alone. A row is transformed the same way wherever it comes from.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]

# Trees hold features as float32; beyond its range scikit-learn refuses the row.
_LARGEST = float(np.finfo(np.float32).max)
_EPOCH = np.datetime64("1970-01-01T00:00:00", "us")
_ATTRIBUTES = {"weekday": "day_of_week"}
_SATURDAY = 5
# The number of steps in a round; months count from one, but where a circle begins does not matter.
_CYCLES = {"month": 12, "day_of_year": 366, "weekday": 7, "hour": 24}
_OPERATIONS: Mapping[str, tuple[str, Callable[[Floats, Floats], Floats]]] = MappingProxyType(
    {
        "product": ("times", np.multiply),
        "difference": ("minus", np.subtract),
        "sum": ("plus", np.add),
    }
)


class DatetimeParts(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """Replaces time columns with parts of them, as numbers.

    Args:
        columns: The columns, as datetime64[us].
        parts: year, quarter (1 to 4), month (1 to 12), week (of the ISO calendar, 1 to 53), day (1 to 31),
            day_of_year (1 to 366), weekday (Monday is 0), is_weekend, hour (0 to 23), minute (0 to 59) or
            days_since_epoch (days since 1970-01-01 with their fraction); month_cycle, day_of_year_cycle,
            weekday_cycle and hour_cycle are a sine and a cosine each, so that December is beside January.

    Example:
        >>> table = pd.DataFrame({"sold": np.array(["2026-11-21"], dtype="datetime64[us]")})
        >>> DatetimeParts(("sold",), ("year", "weekday")).fit_transform(table).values.tolist()
        [[2026.0, 5.0]]
    """

    def __init__(self, columns: Sequence[str] = (), parts: Sequence[str] = ("year", "month")) -> None:
        self.columns = columns
        self.parts = parts

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:  # noqa: ARG002 (scikit-learn passes it)
        """Note the names of the columns."""
        _note_names(self, X)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the table with parts in the place of times; a missing time has missing parts."""
        check_is_fitted(self)
        kept = {name: X[name].to_numpy() for name in X.columns if name not in self.columns}
        made: dict[str, Floats] = {}
        for name in self.columns:
            times = pd.DatetimeIndex(X[name])
            made |= {f"{name}_{title}": values for part in self.parts for title, values in _part(times, part)}
        return _table(kept | made, X.index)

    def get_feature_names_out(self, input_features: Any = None) -> Objects:  # noqa: ARG002
        """Return the names of the columns after the replacement."""
        check_is_fitted(self)
        kept = [name for name in self.feature_names_in_ if name not in self.columns]
        titles = [title for part in self.parts for title in _titles(part)]
        made = [f"{name}_{title}" for name in self.columns for title in titles]
        return np.array(list(dict.fromkeys([*kept, *made])), dtype=object)


class _AddedColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """What all that add columns to a table have in common; each names its columns and computes them."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:  # noqa: ARG002 (scikit-learn passes it)
        """Note the names of the columns."""
        _note_names(self, X)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the table with the columns added, in the place of those of the same name."""
        check_is_fitted(self)
        kept = {name: X[name].to_numpy() for name in X.columns}
        return _table(kept | self._made(X), X.index)

    def get_feature_names_out(self, input_features: Any = None) -> Objects:  # noqa: ARG002
        """Return the names of the columns, the added ones last."""
        check_is_fitted(self)
        return np.array(list(dict.fromkeys([*self.feature_names_in_, *self._titles()])), dtype=object)

    def _titles(self) -> list[str]:
        raise NotImplementedError

    def _made(self, table: pd.DataFrame) -> dict[str, Floats]:
        raise NotImplementedError


class Ratios(_AddedColumns):
    """Adds one number column divided by another; a division by zero is missing.

    Args:
        pairs: Numerator and denominator of each ratio, named `<numerator>_per_<denominator>`.

    Example:
        >>> table = pd.DataFrame({"rooms": [6.0, 1.0], "homes": [2.0, 0.0]})
        >>> Ratios((("rooms", "homes"),)).fit_transform(table)["rooms_per_homes"].tolist()
        [3.0, nan]
    """

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self.pairs = pairs

    def _titles(self) -> list[str]:
        return [f"{above}_per_{below}" for above, below in self.pairs]

    def _made(self, table: pd.DataFrame) -> dict[str, Floats]:
        ratios = (_ratio(table[above].to_numpy(), table[below].to_numpy()) for above, below in self.pairs)
        return dict(zip(self._titles(), ratios, strict=True))


class Interactions(_AddedColumns):
    """Adds products, differences and sums of two number columns.

    Args:
        terms: Operation (`product`, `difference`, `sum`) and the two columns of each, named
            `<first>_times_<second>`, `<first>_minus_<second>` or `<first>_plus_<second>`.

    Example:
        >>> table = pd.DataFrame({"width": [6.0, 1.0], "depth": [2.0, np.nan]})
        >>> Interactions((("product", "width", "depth"),)).fit_transform(table)["width_times_depth"].tolist()
        [12.0, nan]
    """

    def __init__(self, terms: Sequence[tuple[str, str, str]] = ()) -> None:
        self.terms = terms

    def _titles(self) -> list[str]:
        return [f"{first}_{_OPERATIONS[operation][0]}_{second}" for operation, first, second in self.terms]

    def _made(self, table: pd.DataFrame) -> dict[str, Floats]:
        terms = (
            _in_range(_OPERATIONS[operation][1](table[first].to_numpy(), table[second].to_numpy()))
            for operation, first, second in self.terms
        )
        return dict(zip(self._titles(), terms, strict=True))


class Curves(_AddedColumns):
    """Adds logarithms and square roots of number columns, with the sign of the number.

    Args:
        log: Columns whose log(1 + |x|) is added, named `log_<column>`.
        square_root: Columns whose square root of |x| is added, named `square_root_<column>`.

    Example:
        >>> Curves(square_root=("size",)).fit_transform(pd.DataFrame({"size": [9.0, -4.0]})).values.tolist()
        [[9.0, 3.0], [-4.0, -2.0]]
    """

    def __init__(self, *, log: Sequence[str] = (), square_root: Sequence[str] = ()) -> None:
        self.log = log
        self.square_root = square_root

    def _titles(self) -> list[str]:
        return [*(f"log_{name}" for name in self.log), *(f"square_root_{name}" for name in self.square_root)]

    def _made(self, table: pd.DataFrame) -> dict[str, Floats]:
        logs = [_mapped(math.log1p, table[name].to_numpy()) for name in self.log]
        roots = [_mapped(math.sqrt, table[name].to_numpy()) for name in self.square_root]
        return dict(zip(self._titles(), [*logs, *roots], strict=True))


class Counts(_AddedColumns):
    """Adds in how many training rows the value of a column occurs, 0 for one that they did not have.

    A missing value counts as a value.

    Args:
        columns: The columns, of numbers or texts; their counts are named `<column>_count`.

    Example:
        >>> learned = Counts(("zone",)).fit(pd.DataFrame({"zone": ["a", "a", None]}))
        >>> learned.transform(pd.DataFrame({"zone": ["a", None, "b"]}))["zone_count"].tolist()
        [2.0, 1.0, 0.0]
    """

    def __init__(self, columns: Sequence[str] = ()) -> None:
        self.columns = columns

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:  # noqa: ARG002 (scikit-learn passes it)
        """Count the values of the columns."""
        _note_names(self, X)
        self.known_, self.counts_, self.missing_ = [], [], []
        for name in self.columns:
            column = X[name].dropna()
            known, counts = np.unique(column.to_numpy(), return_counts=True)
            self.known_.append(known)
            self.counts_.append(counts.astype(np.float64))
            self.missing_.append(float(len(X) - len(column)))
        return self

    def _titles(self) -> list[str]:
        return [f"{name}_count" for name in self.columns]

    def _made(self, table: pd.DataFrame) -> dict[str, Floats]:
        counts = (self._counted(table[name], at) for at, name in enumerate(self.columns))
        return dict(zip(self._titles(), counts, strict=True))

    def _counted(self, column: pd.Series, at: int) -> Floats:
        known = self.known_[at]
        is_missing = column.isna().to_numpy(dtype=bool)
        counts = np.full(len(column), self.missing_[at])
        asked = column.to_numpy()[~is_missing]
        if not len(known):
            counts[~is_missing] = 0.0
            return counts
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        counts[~is_missing] = np.where(known[place] == asked, self.counts_[at][place], 0.0)
        return counts


def _note_names(transformer: Any, table: pd.DataFrame) -> None:
    transformer.feature_names_in_ = np.array(table.columns, dtype=object)
    transformer.n_features_in_ = len(table.columns)


def _table(columns: dict[str, npt.NDArray[Any]], index: pd.Index) -> pd.DataFrame:
    # Text stays an array of objects: as pandas' own text type it would be converted at each step.
    series = {
        name: pd.Series(values, index, dtype=object) if values.dtype == object else values
        for name, values in columns.items()
    }
    return pd.DataFrame(series, index=index)


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return _in_range(above / np.where(below == 0, np.nan, below))


def _in_range(numbers: Floats) -> Floats:
    numbers[np.abs(numbers) > _LARGEST] = np.nan
    return numbers


def _mapped(curve: Callable[[float], float], column: Floats) -> Floats:
    # One by one: NumPy's logarithm of one number may differ in the last digit from that of many.
    sizes = np.fromiter((curve(size) for size in np.abs(column).tolist()), np.float64, len(column))
    return np.copysign(sizes, column)


def _titles(part: str) -> tuple[str, ...]:
    if part.endswith("_cycle"):
        return f"{part.removesuffix('_cycle')}_sine", f"{part.removesuffix('_cycle')}_cosine"
    return (part,)


def _part(times: pd.DatetimeIndex, part: str) -> Iterator[tuple[str, Floats]]:
    if not part.endswith("_cycle"):
        yield part, _numbers(times, part)
        return
    name = part.removesuffix("_cycle")
    steps = np.arange(_CYCLES[name] + 1) * (2 * math.pi / _CYCLES[name])
    place = _numbers(times, name)
    is_missing = np.isnan(place)
    at = np.where(is_missing, 0, place).astype(np.int64)
    for title, function in zip(_titles(part), (math.sin, math.cos), strict=True):
        values = np.array([function(step) for step in steps.tolist()])[at]
        values[is_missing] = np.nan
        yield title, values


def _numbers(times: pd.DatetimeIndex, part: str) -> Floats:
    if part == "days_since_epoch":
        return np.asarray((times - _EPOCH) / pd.Timedelta(days=1), dtype=np.float64)
    if part == "week":
        return times.isocalendar().week.to_numpy(dtype=np.float64, na_value=np.nan)
    if part == "is_weekend":
        days = np.asarray(times.day_of_week, dtype=np.float64)
        return np.where(np.isnan(days), np.nan, days >= _SATURDAY)
    return np.asarray(getattr(times, _ATTRIBUTES.get(part, part)), dtype=np.float64)
