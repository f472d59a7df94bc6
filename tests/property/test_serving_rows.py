"""Prediction in training is prediction when served, whatever a row holds."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelbook.features.engineer import FeatureEngineer
from modelbook.records import InputColumn, ModelRecord
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.features import Features
from modelbook.serving.compiling.features import compile_features
from modelbook.serving.reference import frame_of

TYPES = {
    "n": "float",
    "m": "integer",
    "v": "boolean",
    "t": "string",
    "b": "boolean",
    "w": "integer",
    "d": "datetime",
    "k": "integer",
    "f": "float",
    "g": "boolean",
}
INPUTS = tuple(InputColumn(name=name, type=kind, nullable=True) for name, kind in TYPES.items())
ROW = st.fixed_dictionaries(
    {
        "n": st.none() | st.floats(allow_nan=True),
        "m": st.none() | st.integers(-(2**53), 2**53) | st.integers(-3, 6),
        "t": st.none() | st.sampled_from(["a", "ü", "日本"]) | st.text(max_size=3),
        "b": st.sampled_from([None, True, False]),
        "d": st.none() | st.datetimes(),
        "k": st.none() | st.integers(0, 4),
        "f": st.none() | st.sampled_from([0.5, 2.0, -0.0, 1e300]) | st.floats(allow_nan=False),
        "g": st.sampled_from([None, True, False]),
        "v": st.sampled_from([None, True, False]),
        "w": st.sampled_from([None, 0, 1]),
    }
)
TABLES = st.lists(ROW, min_size=1, max_size=12)
PARTS = ["year", "quarter", "month", "week", "day", "day_of_year", "weekday", "is_weekend", "hour", "minute"]
CYCLES = ["days_since_epoch", "month_cycle", "day_of_year_cycle", "weekday_cycle", "hour_cycle"]
TRAINING = pd.DataFrame(
    {
        "n": [1.0, 2.0, None, 4.0, 5.0, 6.0] * 4,
        "m": [0, 1, 2, 3, None, 5] * 4,
        "t": ["a", "ü", None, "a", "日本", "c"] * 4,
        "b": [True, False, None, True, True, False] * 4,
        "d": pd.date_range("2019-12-28", periods=24, freq="400h").as_unit("us"),
        "k": [0, 1, 2, None, 3, 3] * 4,
        "f": [0.5, 2.0, 0.0, None, 1e300, -1.25] * 4,
        "g": [True, False, True, None, False, False] * 4,
        "v": [True, None, True, False, False, False] * 4,
        "w": [1, None, 1, 0, 0, 0] * 4,
    }
)
TARGET = pd.Series(np.arange(24.0))


def settings_of(encode, scale, impute, *, geography):
    features = {
        "numeric": {"columns": ["n", "m", "v"], "scale": scale, "impute": impute},
        "categorical": {"columns": ["t", "k", "f", "g"], "encode": encode},
        "boolean": {"columns": ["b", "w"]},
        "datetime": {"columns": ["d"], "parts": [*PARTS, *CYCLES]},
        "ratios": [{"numerator": "n", "denominator": "m"}],
        "interactions": [{"product": ["n", "m"]}, {"sum": ["n", "m"]}, {"difference": ["m", "n"]}],
        "curves": {"log": ["n"], "square_root": ["m"]},
        "counts": ["n", "t", "b", "f"],
    }
    if geography:
        features["geography"] = {"latitude": "n", "longitude": "m", **geography}
    return features


def record_of(task="regression", classes=()):
    return ModelRecord(
        algorithm="any",
        task=task,
        target="y",
        classes=classes,
        inputs=INPUTS,
        file="",
        sha256="",
        size_bytes=0,
        digest="",
        code=(),
        requirements=(),
    )


NEIGHBOURS = {"neighbours": [1, 3], "columns": ["m"], "clusters": 2, "rotations": [30]}
CENTRES = {"latitude": "m", "longitude": "n", "clusters": 3, "rotations": [15, 60]}
GEOGRAPHIES = {"auto": NEIGHBOURS, "ordinal": CENTRES}


def engineered(encode, scale, impute, *, geography=None):
    engineer = FeatureEngineer({"features": settings_of(encode, scale, impute, geography=geography)})
    transformer = engineer.fit(TRAINING, TARGET.to_numpy()).transformer
    arrays = ArrayFolder(Path(tempfile.mkdtemp()))
    return transformer, Features(compile_features(transformer, record_of(), arrays), arrays)


ENGINEERS = {
    "-".join(map(str, words)): engineered(*words, geography=GEOGRAPHIES.get(words[0]))
    for words in [
        ("one_hot", "standard", "median"),
        ("ordinal", "robust", "mean"),
        ("target", "minmax", "zero"),
        ("native", "none", "none"),
        ("auto", "none", "median"),
    ]
}


def as_rows(table):
    """Return rows as a server reads them."""
    columns = {name: [row[name] for row in table] for name in TYPES}
    return {
        name: np.array(
            values, dtype="datetime64[us]" if name == "d" else object if name == "t" else np.float64
        )
        for name, values in columns.items()
    }


@pytest.mark.parametrize(("transformer", "features"), ENGINEERS.values(), ids=list(ENGINEERS))
@settings(max_examples=30)
@given(table=TABLES)
def test_features_are_the_same_to_the_last_bit(transformer, features, table):
    """The compiled steps make of any row what the FeatureEngineer makes of it."""
    rows = as_rows(table)
    expected = transformer.transform(frame_of(rows, INPUTS))
    np.testing.assert_array_equal(features.matrix(rows), expected)


@pytest.mark.parametrize(("transformer", "features"), ENGINEERS.values(), ids=list(ENGINEERS))
def test_no_rows(transformer, features):
    """Of no rows there are no features."""
    assert features.matrix(as_rows([])).shape == (0, len(transformer[-1].get_feature_names_out()))


@pytest.mark.parametrize("name", list(ENGINEERS))
def test_a_row_alone(name):
    """A row has the same features alone and among others."""
    _, features = ENGINEERS[name]
    row = dict.fromkeys(TYPES) | {"n": 2.5, "m": 3, "t": "a", "b": True, "d": "2021-01-03", "k": 1}
    rows = as_rows([row] * 5)
    whole = features.matrix(rows)
    alone = features.matrix({name: values[2:3] for name, values in rows.items()})
    np.testing.assert_array_equal(alone[0], whole[2])
