"""A row is transformed the same way wherever it comes from."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelbook.features.engineer import FeatureEngineer

NUMBERS = st.none() | st.floats(allow_nan=True) | st.integers(-(10**6), 10**6)
TEXTS = st.none() | st.sampled_from(["a", "b", "c"]) | st.text(max_size=3)
TIMES = st.none() | st.datetimes().map(lambda moment: moment.isoformat())
ROWS = st.fixed_dictionaries(
    {"n": NUMBERS, "m": NUMBERS, "t": TEXTS, "b": st.sampled_from([None, True, False]), "d": TIMES}
)
TABLES = st.lists(ROWS, min_size=1, max_size=8)

PARTS = ["year", "week", "weekday", "is_weekend", "hour", "days_since_epoch", "day_of_year_cycle"]
TRAINING = pd.DataFrame(
    {
        "n": [1.0, 2.0, None, 4.0, 5.0, 6.0],
        "m": [0.0, 1.0, 2.0, 3.0, None, 5.0],
        "t": ["a", "b", None, "a", "b", "c"],
        "b": [True, False, None, True, True, False],
        "d": pd.date_range("2020-01-01", periods=6, freq="400h"),
    }
)


def fitted(encode, scale):
    engineer = FeatureEngineer(
        {
            "features": {
                "numeric": {"columns": ["n", "m"], "scale": scale},
                "categorical": {"columns": ["t"], "encode": encode},
                "boolean": {"columns": ["b"]},
                "datetime": {"columns": ["d"], "parts": PARTS},
                "ratios": [{"numerator": "n", "denominator": "m"}],
                "interactions": [{"product": ["n", "m"]}, {"sum": ["n", "m"]}],
                "curves": {"log": ["n"], "square_root": ["m"]},
                "counts": ["n", "t", "b"],
                "geography": {
                    "latitude": "n",
                    "longitude": "m",
                    "neighbours": [1, 3],
                    "columns": ["m"],
                    "clusters": 2,
                    "rotations": [30],
                },
            }
        }
    )
    return engineer.fit(TRAINING, np.arange(6.0)).transformer


ENGINEERS = {
    (encode, scale): fitted(encode, scale)
    for encode, scale in [
        ("one_hot", "standard"),
        ("ordinal", "robust"),
        ("target", "minmax"),
        ("auto", "none"),
    ]
}


@pytest.mark.parametrize("transformer", ENGINEERS.values(), ids=map("-".join, ENGINEERS))
@settings(max_examples=40)
@given(rows=TABLES)
def test_a_row_alone_equals_the_row_in_its_table(transformer, rows):
    """Neither other rows nor the types that pandas gives their columns show; every feature is finite."""
    whole = transformer.transform(pd.DataFrame(rows))
    alone = np.vstack([transformer.transform(pd.DataFrame([row])) for row in rows])
    assert whole.tobytes() == alone.tobytes()
    assert np.isfinite(whole).all()


@pytest.mark.parametrize("transformer", ENGINEERS.values(), ids=map("-".join, ENGINEERS))
@settings(max_examples=40)
@given(rows=TABLES, others=TABLES)
def test_nothing_is_fitted_on_test_rows(transformer, rows, others):
    """What came before or beside a row leaves no trace."""
    before = transformer.transform(pd.DataFrame(rows))
    together = transformer.transform(pd.DataFrame([*others, *rows]))
    assert together[len(others) :].tobytes() == before.tobytes()
