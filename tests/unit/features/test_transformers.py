"""Facts about the transformers that travel with a model."""

import ast
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError

from modelbook.features import derived, matrix, neighbours, transformers
from modelbook.features.derived import DatetimeParts, Ratios
from modelbook.features.transformers import (
    CustomColumns,
    TableColumns,
    TableError,
)

NAN = float("nan")


def columns(**roles):
    names = [name for role in roles.values() for name in role]
    return TableColumns(**roles).fit(pd.DataFrame({name: [] for name in names}))


@pytest.mark.parametrize("module", [transformers, derived, matrix, neighbours])
def test_it_imports_nothing_but_numpy_pandas_and_scikit_learn(module):
    """A model can be loaded where Modelbook is not installed."""
    tree = ast.parse(Path(module.__file__).read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    roots = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert roots - {"scipy"} == {"numpy", "pandas", "sklearn"}


@pytest.mark.parametrize("module", [transformers, derived, matrix, neighbours])
def test_it_runs_alone(module, tmp_path):
    """The file executes in a process that cannot import modelbook."""
    code = (
        "import sys, runpy; sys.modules['modelbook'] = None; "
        f"runpy.run_path({module.__file__!r}); assert sys.modules['modelbook'] is None"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 2]),
        pd.Series([1, 2], dtype="uint8"),
        pd.Series([1.0, 2.0], dtype="float32"),
        pd.Series([1, 2], dtype="Int64"),
        pd.Series(["1", " 2 "]),
        pd.Series(["1", 2], dtype=object),
        pd.Series([Decimal(1), True + 1], dtype=object),
        pd.Series([1, 2], dtype="category"),
    ],
)
def test_numbers_of_every_kind_are_float64(series):
    """Whatever pandas calls them, they come out alike."""
    made = columns(numeric=["a"]).transform(pd.DataFrame({"a": series}))
    assert made["a"].dtype == np.float64
    assert made["a"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1.0, NAN]),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([1, None], dtype=object),
        pd.Series([1, pd.NA], dtype=object),
        pd.Series([1, pd.NaT], dtype=object),
        pd.Series(["1", None]),
        pd.Series([1.0, np.inf]),
        pd.Series([1.0, -1e300]),
    ],
)
def test_missing_numbers_of_every_kind_are_nan(series):
    """So are infinities and what float32 does not hold."""
    made = columns(numeric=["a"]).transform(pd.DataFrame({"a": series}))
    np.testing.assert_array_equal(made["a"], [1.0, NAN])


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([True, False]),
        pd.Series([True, False], dtype="boolean"),
        pd.Series([1, 0]),
        pd.Series([1.0, 0.0]),
        pd.Series(["True", "false "]),
        pd.Series([np.True_, "no"], dtype=object),
    ],
)
def test_truth_values_of_every_kind_are_one_and_zero(series):
    """Words of both cases and numbers count."""
    assert columns(boolean=["a"]).transform(pd.DataFrame({"a": series}))["a"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("dtype", [object, "boolean"])
def test_a_missing_truth_value_is_nan(dtype):
    """It is neither true nor false."""
    made = columns(boolean=["a"]).transform(pd.DataFrame({"a": pd.Series([True, None], dtype=dtype)}))
    np.testing.assert_array_equal(made["a"], [1.0, NAN])


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pd.Series(["x", None]), ["x", None]),
        (pd.Series(["x", None], dtype=object), ["x", None]),
        (pd.Series(["x", pd.NA], dtype="string"), ["x", None]),
        (pd.Series(["x", None], dtype="category"), ["x", None]),
        (pd.Series([12, 7]), ["12", "7"]),
        (pd.Series([12, None]), ["12", None]),
        (pd.Series([12, None], dtype="Int64"), ["12", None]),
        (pd.Series([1.5, NAN]), ["1.5", None]),
        (pd.Series([True, None], dtype=object), ["True", None]),
    ],
)
def test_texts_of_every_kind_are_strings_or_none(series, expected):
    """A code that pandas read as a float is still that code."""
    assert columns(categorical=["a"]).transform(pd.DataFrame({"a": series}))["a"].tolist() == expected


@pytest.mark.parametrize(
    "series",
    [
        pd.Series(["2026-11-21T10:30:00", None]),
        pd.Series(["2026-11-21 10:30", ""]).replace("", None),
        pd.Series(["2026-11-21T12:30:00+02:00", None]),
        pd.Series([datetime(2026, 11, 21, 10, 30), None], dtype=object),  # noqa: DTZ001
        pd.Series(pd.to_datetime(["2026-11-21 10:30", None])),
        pd.Series(pd.to_datetime(["2026-11-21 10:30", None]).astype("datetime64[s]")),
        pd.Series(pd.to_datetime(["2026-11-21 10:30", None]).tz_localize("UTC").tz_convert("Asia/Tokyo")),
    ],
)
def test_times_of_every_kind_are_one_type(series):
    """Zones are turned into UTC; without one, UTC is meant."""
    made = columns(datetime=["a"]).transform(pd.DataFrame({"a": series}))
    assert made["a"].dtype == "datetime64[us]"
    assert made["a"].tolist() == [pd.Timestamp("2026-11-21 10:30"), pd.NaT]


def test_a_date_is_its_midnight():
    """Dates without a time of day are taken."""
    made = columns(datetime=["a"]).transform(pd.DataFrame({"a": [date(2026, 11, 21)]}))
    assert made["a"].tolist() == [pd.Timestamp("2026-11-21")]


@pytest.mark.parametrize(
    ("role", "value", "message"),
    [
        ("numeric", "secret", "column 'a' holds values that are not numbers"),
        ("numeric", pd.Timestamp("2026-01-01"), "column 'a' holds values that are not numbers"),
        ("numeric", 10**400, "column 'a' holds values that are not numbers"),
        ("boolean", "secret", "column 'a' holds values that are not true or false"),
        ("boolean", [1], "column 'a' holds values that are not true or false"),
        ("boolean", 2, "column 'a' holds values that are not true or false"),
        ("datetime", "secret", "column 'a' holds values that are not ISO 8601 times"),
        ("datetime", 20261121, "column 'a' holds numbers, not times"),
    ],
)
def test_a_value_of_another_type_names_the_column_and_not_the_value(role, value, message):
    """Rows are never quoted."""
    with pytest.raises(TableError) as caught:
        columns(**{role: ["a"]}).transform(pd.DataFrame({"a": pd.Series([value], dtype=object)}))
    assert str(caught.value) == message


def test_missing_columns_are_named():
    """All of them, up to twenty."""
    names = [f"c{number}" for number in range(25)]
    with pytest.raises(TableError, match=r"^missing columns: c0, c1, .*c19 and 5 more$"):
        TableColumns(numeric=names).fit(pd.DataFrame({"x": [1]}))


def test_a_column_that_occurs_twice_is_named():
    """One name must mean one column; others may repeat."""
    table = pd.DataFrame([[1, 2, 3, 4]], columns=["a", "a", "b", "b"])
    with pytest.raises(TableError, match=r"^columns that occur twice: a$"):
        TableColumns(numeric=["a"]).fit(table)


def test_an_array_is_refused():
    """Columns are found by name."""
    with pytest.raises(TableError, match="a pandas DataFrame with named columns is needed, got ndarray"):
        TableColumns(numeric=["a"]).fit(np.ones((1, 1)))


def test_the_order_and_the_index_of_the_table_do_not_matter():
    """Columns come out as configured, rows under their index."""
    table = pd.DataFrame({"z": [1], "b": [2], "a": [3]}, index=[7])
    made = columns(numeric=["a", "b"]).transform(table)
    assert made.columns.tolist() == ["a", "b"]
    assert made.index.tolist() == [7]


@pytest.mark.parametrize("step", [TableColumns(), DatetimeParts(), Ratios(), matrix.FeatureMatrix()])
def test_unfitted_transformers_say_so(step):
    """As scikit-learn's own do."""
    with pytest.raises(NotFittedError):
        step.transform(pd.DataFrame({"a": [1.0]}))


def test_the_parts_of_a_time():
    """All six, and NaN where the time is missing."""
    parts = ("year", "month", "day", "weekday", "hour", "days_since_epoch")
    table = pd.DataFrame({"t": np.array(["2026-11-22T12:00", "NaT"], dtype="datetime64[us]")})
    step = DatetimeParts(("t",), parts)
    made = step.fit_transform(table)
    assert made.columns.tolist() == [f"t_{part}" for part in parts]
    assert step.get_feature_names_out().tolist() == made.columns.tolist()
    assert made.iloc[0].tolist() == [2026, 11, 22, 6, 12, 20779.5]
    assert made.iloc[1].isna().all()


def test_a_ratio_by_zero_is_missing():
    """So is a ratio with a missing side or out of range."""
    table = pd.DataFrame({"a": [6.0, 1.0, NAN, 3e38], "b": [2.0, 0.0, 1.0, 1e-30]})
    step = Ratios((("a", "b"),))
    made = step.fit_transform(table)
    np.testing.assert_array_equal(made["a_per_b"], [3.0, NAN, NAN, NAN])
    assert step.get_feature_names_out().tolist() == ["a", "b", "a_per_b"]


class Rooms(TransformerMixin, BaseEstimator):
    def __init__(self, change=None):
        self.change = change

    def fit(self, X, y=None):  # noqa: ARG002, D102
        self.rows_ = len(X)
        return self

    def transform(self, X):  # noqa: D102
        X["size"] = X["a"] * 2
        X["word"] = "w"
        if self.change == "array":
            return X.to_numpy()
        return X.head(1) if self.change == "rows" else X


def test_number_columns_that_the_user_adds_become_numbers():
    """Other added columns and raw ones without a role do not, and the caller's table is left alone."""
    table = pd.DataFrame({"a": [1, 2], "other": [3, 4], "zone": ["x", "y"]})
    step = CustomColumns(Rooms(), TableColumns(numeric=("a",), categorical=("zone",)))
    made = step.fit_transform(table)
    assert made.columns.tolist() == ["a", "size", "zone"]
    assert step.get_feature_names_out().tolist() == ["a", "size", "zone"]
    pd.testing.assert_frame_equal(step.transform(table.tail(1)), made.tail(1))
    assert table.columns.tolist() == ["a", "other", "zone"]
    assert clone(step).get_params()["transformer"].change is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("array", r"Rooms\.transform must return a pandas DataFrame, got ndarray"),
        ("rows", r"Rooms\.transform must keep the rows: 2 came in, 1 out"),
    ],
)
def test_what_the_user_returns_is_checked(change, message):
    """It must be a table of the same rows."""
    with pytest.raises(TableError, match=message):
        CustomColumns(Rooms(change), TableColumns()).fit(pd.DataFrame({"a": [1, 2]}))
