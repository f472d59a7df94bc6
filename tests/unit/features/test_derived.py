"""Facts about columns made from columns."""

import math

import numpy as np
import pandas as pd
import pytest
import skops.io

from modelbook.features.derived import Counts, Curves, DatetimeParts, Interactions

NAN = float("nan")


def test_terms():
    """A gap in either column is a gap, and what no float32 holds is missing."""
    table = pd.DataFrame({"a": [6.0, NAN, 3e38], "b": [2.0, 1.0, 3e38]})
    terms = (("product", "a", "b"), ("difference", "a", "b"), ("sum", "b", "a"))
    made = Interactions(terms).fit_transform(table)
    assert list(made.columns) == ["a", "b", "a_times_b", "a_minus_b", "b_plus_a"]
    assert made.iloc[0, 2:].tolist() == [12.0, 4.0, 8.0]
    assert made.iloc[1, 2:].isna().all()
    assert made.iloc[2, 2:].isna().tolist() == [True, False, True]
    assert list(Interactions(terms).fit(table).get_feature_names_out()) == list(made.columns)


def test_curves_keep_the_sign():
    """They rise with the number everywhere, so nothing has to be known of its range."""
    made = Curves(log=("a",), square_root=("a",)).fit_transform(pd.DataFrame({"a": [-9.0, 0.0, NAN, 16.0]}))
    assert made["log_a"].tolist()[:2] == [-math.log(10), 0.0]
    assert made["square_root_a"].tolist()[:2] == [-3.0, 0.0]
    assert made.iloc[2].isna().all()
    assert made["square_root_a"].iloc[3] == 4.0


def test_counts_are_of_training_rows():
    """A value counts as often as training rows had it, a gap as often as they had gaps."""
    train = pd.DataFrame(
        {
            "t": pd.Series(["a", "b", "a", None], dtype=object),
            "n": [1.0, 1.0, NAN, 2.0],
            "b": [1.0, 1.0, 0.0, 1.0],
        }
    )
    step = Counts(("t", "n", "b")).fit(train)
    new = pd.DataFrame(
        {"t": pd.Series(["b", "z", None], dtype=object), "n": [1.0, NAN, 9.0], "b": [0.0, NAN, 1.0]}
    )
    made = step.transform(new)
    assert made["t_count"].tolist() == [1.0, 0.0, 1.0]
    assert made["n_count"].tolist() == [2.0, 1.0, 0.0]
    assert made["b_count"].tolist() == [1.0, 0.0, 3.0]
    assert list(step.get_feature_names_out()) == list(made.columns)
    loaded = skops.io.loads(skops.io.dumps(step), trusted=["modelbook.features.derived.Counts"])
    pd.testing.assert_frame_equal(loaded.transform(new), made)


def test_counts_of_a_column_without_values():
    """Everything that is not missing counts 0."""
    step = Counts(("t",)).fit(pd.DataFrame({"t": pd.Series([None, None], dtype=object)}))
    made = step.transform(pd.DataFrame({"t": pd.Series(["a", None], dtype=object)}))
    assert made["t_count"].tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("quarter", [4.0, 1.0]),
        ("week", [53.0, 1.0]),
        ("day_of_year", [366.0, 4.0]),
        ("is_weekend", [0.0, 0.0]),
        ("minute", [30.0, 0.0]),
    ],
)
def test_parts_of_dates(part, expected):
    """New year's eve of 2020 and the fourth of January 2021; a missing date has missing parts."""
    times = np.array(["2020-12-31T18:30", "2021-01-04T00:00", "NaT"], dtype="datetime64[us]")
    made = DatetimeParts(("t",), (part,)).fit_transform(pd.DataFrame({"t": times}))[f"t_{part}"]
    assert made.tolist()[:2] == expected
    assert math.isnan(made.iloc[2])


@pytest.mark.parametrize("cycle", ["month", "day_of_year", "weekday", "hour"])
def test_circles(cycle):
    """The last step is as near to the first as the first to the second, on a circle of radius one."""
    unit = {"month": "MS", "day_of_year": "D", "weekday": "D", "hour": "h"}[cycle]
    table = pd.DataFrame({"t": pd.date_range("2024-01-01", periods=366, freq=unit)})
    step = DatetimeParts(("t",), (f"{cycle}_cycle",)).fit(table)
    made = step.transform(table)
    assert (
        list(made.columns) == list(step.get_feature_names_out()) == [f"t_{cycle}_sine", f"t_{cycle}_cosine"]
    )
    points = made.to_numpy()
    np.testing.assert_allclose(np.hypot(*points.T), 1)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0])
    assert step.transform(pd.DataFrame({"t": pd.to_datetime([None])})).isna().all(axis=None)


def test_one_day_of_the_week_is_on_a_weekend():
    """Saturday and Sunday are."""
    table = pd.DataFrame({"t": pd.date_range("2024-01-01", periods=7)})  # a Monday
    made = DatetimeParts(("t",), ("is_weekend",)).fit_transform(table)["t_is_weekend"]
    assert made.tolist() == [0.0] * 5 + [1.0] * 2
