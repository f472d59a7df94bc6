"""From whatever table arrives to a table of fixed columns and types.

This file travels with each model, so that the model can be loaded without Modelbook: it imports NumPy, pandas
and scikit-learn alone. A row is transformed the same way wherever it comes from: every conversion is made
value by value, and nothing depends on the other rows or on the types that pandas gave the columns.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]

# Trees hold features as float32; beyond its range scikit-learn refuses the row.
_LARGEST = float(np.finfo(np.float32).max)
# Whole floats up to here have one integer text: a code that pandas read as 12.0 is the category "12".
_LARGEST_WHOLE = 2.0**53
_MOST_NAMED = 20
_TRUTHS: dict[Hashable, float] = {
    True: 1.0,
    False: 0.0,
    "true": 1.0,
    "false": 0.0,
    "1": 1.0,
    "0": 0.0,
    "yes": 1.0,
    "no": 0.0,
}


class TableError(ValueError):
    """A table cannot be transformed; the message names columns and never holds values."""


class TableColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """Selects columns of whatever table arrives, in a fixed order and with fixed types.

    Numbers and truth values become float64 with NaN where missing, texts become objects (`str`, None where
    missing), times become datetime64[us] in UTC without a zone. Numbers beyond the range of float32,
    infinities among them, count as missing.

    Args:
        numeric: Number columns.
        boolean: True-or-false columns.
        categorical: Text columns.
        datetime: Date and time columns: datetime64, datetime objects or ISO 8601 text.

    Example:
        >>> table = pd.DataFrame({"rooms": ["3", None], "zone": pd.array([1, None], dtype="Int64")})
        >>> TableColumns(numeric=("rooms",), categorical=("zone",)).fit_transform(table).values.tolist()
        [[3.0, '1'], [nan, None]]
    """

    def __init__(
        self,
        *,
        numeric: Sequence[str] = (),
        boolean: Sequence[str] = (),
        categorical: Sequence[str] = (),
        datetime: Sequence[str] = (),
    ) -> None:
        self.numeric = numeric
        self.boolean = boolean
        self.categorical = categorical
        self.datetime = datetime

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:  # noqa: ARG002 (scikit-learn passes it)
        """Check that the table has the columns.

        Raises:
            TableError: Columns are missing or occur twice.
        """
        names = [*self.numeric, *self.boolean, *self.categorical, *self.datetime]
        _check_columns(X, names)
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the columns with their fixed types.

        Raises:
            TableError: Columns are missing, occur twice or hold values of another type.
        """
        check_is_fitted(self)
        _check_columns(X, list(self.feature_names_in_))
        readers: list[tuple[Sequence[str], Callable[[pd.Series], npt.NDArray[Any]]]] = [
            (self.numeric, _numbers),
            (self.boolean, _truths),
            (self.categorical, _texts),
            (self.datetime, _times),
        ]
        return _table({name: read(X[name]) for names, read in readers for name in names}, X.index)

    def get_feature_names_out(self, input_features: Any = None) -> Objects:  # noqa: ARG002
        """Return the names of the columns."""
        check_is_fitted(self)
        return np.array(self.feature_names_in_, dtype=object)


class CustomColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """Puts a table through a transformer of the user's own, and selects columns from what it returns.

    Number columns that the transformer adds are selected too; other columns that it adds are not.

    Args:
        transformer: The user's transformer: takes a table, returns a table with the same rows.
        columns: What is selected from its table beside the added number columns.
    """

    def __init__(self, transformer: Any, columns: TableColumns) -> None:
        self.transformer = transformer
        self.columns = columns

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Fit the user's transformer and note the columns that it adds."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: pd.DataFrame, y: Any = None) -> pd.DataFrame:
        """Fit the user's transformer and return the selected columns of its table."""
        self.transformer_ = clone(self.transformer)
        made = self._checked(self.transformer_.fit_transform(X.copy(), y), X)
        known = {*X.columns, *self.columns.categorical, *self.columns.boolean, *self.columns.datetime}
        added = [
            name
            for name in made.columns
            if name not in known
            and name not in self.columns.numeric
            and pd.api.types.is_numeric_dtype(made[name].dtype)
        ]
        self.columns_ = clone(self.columns).set_params(numeric=(*self.columns.numeric, *added))
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.n_features_in_ = len(X.columns)
        selected: pd.DataFrame = self.columns_.fit_transform(made)
        return selected

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the selected columns of the table that the user's transformer makes."""
        check_is_fitted(self)
        made = self._checked(self.transformer_.transform(X.copy()), X)
        selected: pd.DataFrame = self.columns_.transform(made)
        return selected

    def get_feature_names_out(self, input_features: Any = None) -> Objects:  # noqa: ARG002
        """Return the names of the selected columns."""
        check_is_fitted(self)
        return np.array(self.columns_.feature_names_in_, dtype=object)

    def _checked(self, made: Any, table: pd.DataFrame) -> pd.DataFrame:
        name = type(self.transformer).__name__
        if not isinstance(made, pd.DataFrame):
            raise TableError(f"{name}.transform must return a pandas DataFrame, got {type(made).__name__}")
        if len(made) != len(table):
            raise TableError(f"{name}.transform must keep the rows: {len(table)} came in, {len(made)} out")
        return made.set_axis(table.index)


def _check_columns(table: Any, names: Sequence[str]) -> None:
    if not isinstance(table, pd.DataFrame):
        raise TableError(f"a pandas DataFrame with named columns is needed, got {type(table).__name__}")
    present = set(table.columns)
    if missing := [name for name in names if name not in present]:
        raise TableError(f"missing columns: {_listed(missing)}")
    if len(present) < len(table.columns):
        twice = set(table.columns[table.columns.duplicated()])
        if repeated := [name for name in names if name in twice]:
            raise TableError(f"columns that occur twice: {_listed(repeated)}")


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _table(columns: dict[str, npt.NDArray[Any]], index: pd.Index) -> pd.DataFrame:
    # Text stays an array of objects: as pandas' own text type it would be converted at each step.
    series = {
        name: pd.Series(values, index, dtype=object) if values.dtype == object else values
        for name, values in columns.items()
    }
    return pd.DataFrame(series, index=index)


def _numbers(column: pd.Series) -> Floats:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub":
        return _in_range(column.to_numpy(dtype=np.float64, copy=True))
    objects, missing = _objects(column)
    objects[missing] = np.nan
    try:
        return _in_range(objects.astype(np.float64))
    except (TypeError, ValueError, OverflowError):
        raise TableError(f"column {column.name!r} holds values that are not numbers") from None


def _in_range(numbers: Floats) -> Floats:
    numbers[np.abs(numbers) > _LARGEST] = np.nan
    return numbers


def _truths(column: pd.Series) -> Floats:
    if column.dtype == np.bool_:
        return column.to_numpy(dtype=np.float64)
    objects, missing = _objects(column)
    try:
        truths = [
            _TRUTHS[value.strip().lower() if isinstance(value, str) else value] for value in objects[~missing]
        ]
    except (KeyError, TypeError):
        raise TableError(f"column {column.name!r} holds values that are not true or false") from None
    numbers = np.full(len(objects), np.nan)
    numbers[~missing] = truths
    return numbers


def _texts(column: pd.Series) -> Objects:
    objects, missing = _objects(column)
    objects[missing] = None
    for at, value in enumerate(objects):
        if type(value) is not str and value is not None:
            objects[at] = _text(value)
    return objects


def _text(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and plain.is_integer() and abs(plain) <= _LARGEST_WHOLE:
        return str(int(plain))
    return str(plain)


def _times(column: pd.Series) -> npt.NDArray[np.datetime64]:
    if not isinstance(column.dtype, np.dtype) or column.dtype.kind != "M":
        objects, missing = _objects(column)
        objects[missing] = None
        if any(isinstance(value, (bool, int, float, np.number)) for value in objects):
            raise TableError(f"column {column.name!r} holds numbers, not times")
        times = pd.to_datetime(pd.Series(objects, dtype=object), utc=True, format="ISO8601", errors="coerce")
        if (times.isna().to_numpy() & ~missing).any():
            raise TableError(f"column {column.name!r} holds values that are not ISO 8601 times")
        column = times.dt.tz_localize(None)
    return column.to_numpy(dtype="datetime64[us]")


def _objects(column: pd.Series) -> tuple[Objects, npt.NDArray[np.bool_]]:
    return column.to_numpy(dtype=object, copy=True), column.isna().to_numpy(dtype=bool)
