"""Facts about the FeatureEngineer."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from modelbook.config import load_config
from modelbook.errors import ConfigError, DataInvalidError, UsageError
from modelbook.features.engineer import FeatureEngineer

TABLE = pd.DataFrame(
    {
        "rooms": [2.0, 4.0, None, 6.0],
        "homes": [1, 2, 0, 3],
        "zone": ["INLAND", "NEAR BAY", None, "INLAND"],
        "sold": [True, None, False, True],
        "day": ["2026-11-21", "2025-01-01", None, "2024-02-29"],
    }
)
Y = np.array([1.0, 2.0, 3.0, 4.0])


def engineer(folder=None, *, task="regression", schema=None, **features):
    settings = {"project": {"task": task}, "features": features}
    if schema:
        settings["data"] = {"schema": schema}
    config = load_config(settings)
    if folder:
        object.__setattr__(config, "_root", folder)
    return FeatureEngineer(config)


def numeric(*names, **settings):
    return {"columns": names or ("rooms",), **settings}


def test_every_role_becomes_features_with_readable_names():
    """Numbers, ratios and parts of times come first, then truth values, then categories."""
    made = engineer(
        numeric=numeric("rooms", "homes", scale="none"),
        categorical={"columns": ["zone"]},
        boolean={"columns": ["sold"]},
        datetime={"columns": ["day"], "parts": ["year"]},
        ratios=[{"numerator": "rooms", "denominator": "homes"}],
    ).fit_transform(TABLE)
    assert made.columns.tolist() == [
        *("rooms", "homes", "day_year", "rooms_per_homes", "sold"),
        *("zone_INLAND", "zone_NEAR BAY", "zone_None"),
    ]
    assert made.dtypes.eq(np.float64).all()
    assert made.iloc[2].tolist() == [4.0, 0.0, 2025.0, 2.0, 0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("impute", "filled"), [("median", 4.0), ("mean", 4.0), ("zero", 0.0), ("none", None)]
)
def test_gaps_are_filled_as_configured(impute, filled):
    """`none` leaves them to the estimator."""
    made = engineer(numeric=numeric(impute=impute, scale="none")).fit_transform(TABLE)["rooms"]
    assert (None if np.isnan(made[2]) else made[2]) == filled


def test_a_column_without_values_is_filled_with_zero():
    """It is kept, so that the features are those of the settings."""
    made = engineer(numeric=numeric(scale="none")).fit_transform(pd.DataFrame({"rooms": [None, None]}))
    assert made["rooms"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("scale", "kind"),
    [
        ("standard", StandardScaler),
        ("robust", RobustScaler),
        ("minmax", MinMaxScaler),
        ("none", FunctionTransformer),
    ],
)
def test_the_scaler_is_the_configured_one(scale, kind):
    """Without one there is a scaler that changes nothing."""
    fitted = engineer(numeric=numeric(scale=scale)).fit(TABLE)
    assert type(fitted.scaler) is kind
    assert np.isfinite(fitted.scaler.transform(np.ones((1, 1)))).all()


@pytest.mark.parametrize(
    ("encode", "kind", "unknown"),
    [
        ("one_hot", OneHotEncoder, [0.0, 0.0, 0.0]),
        ("ordinal", OrdinalEncoder, [-1.0]),
        ("target", TargetEncoder, [2.5]),
        ("auto", OneHotEncoder, [0.0, 0.0, 0.0]),
    ],
)
def test_an_unknown_category_is_handled_as_trained(encode, kind, unknown):
    """No column, -1, or the mean of the target."""
    fitted = engineer(categorical={"columns": ["zone"], "encode": encode}).fit(TABLE, Y)
    assert type(fitted.encoder) is kind
    assert fitted.transform(pd.DataFrame({"zone": ["ISLAND"]})).iloc[0].tolist() == unknown


def test_auto_encodes_the_many_by_target_and_the_few_one_hot():
    """The bound is `max_one_hot`; the encoder then does both."""
    table = TABLE.assign(code=["a", "b", "c", "d"])
    fitted = engineer(categorical={"columns": ["zone", "code"], "max_one_hot": 3}).fit(table, Y)
    assert fitted.get_feature_names_out() == ["zone_INLAND", "zone_NEAR BAY", "zone_None", "code"]
    texts = table[["zone", "code"]].astype(object).where(table.notna(), None).to_numpy()
    assert fitted.encoder.transform(texts).shape == (4, 4)


def test_without_text_columns_the_encoder_changes_nothing():
    """It can be exported all the same."""
    assert type(engineer(numeric=numeric()).fit(TABLE).encoder) is FunctionTransformer


def test_target_encoding_is_cross_fitted_on_training_rows_alone():
    """The seed decides the folds; new rows get the means of all training rows."""
    table = pd.DataFrame({"zone": ["a", "b"] * 20})
    y = np.arange(40.0)
    fitted = engineer(categorical={"columns": ["zone"], "encode": "target"})
    first, second = fitted.fit_transform(table, y), fitted.fit_transform(table, y)
    pd.testing.assert_frame_equal(first, second)
    assert first["zone"].nunique() > 2
    assert fitted.transform(table)["zone"].nunique() == 2


@pytest.mark.parametrize(
    ("y", "names"), [(["n", "y"] * 2, ["zone"]), ([True, False] * 2, ["zone"]), ([0, 1, 2, 0], 3)]
)
def test_target_encoding_takes_classes_of_every_kind(y, names):
    """With more than two classes there is a feature for each."""
    fitted = engineer(task="classification", categorical={"columns": ["zone"], "encode": "target"})
    made = fitted.fit(TABLE, np.array(y)).get_feature_names_out()
    assert made == (names if isinstance(names, list) else [f"zone_{number}" for number in range(names)])


def test_target_encoding_needs_the_target():
    """It is asked for."""
    with pytest.raises(UsageError, match="target encoding needs the target"):
        engineer(categorical={"columns": ["zone"], "encode": "target"}).fit(TABLE)


@pytest.mark.parametrize(
    ("encode", "features"), [("auto", 1), ("ordinal", 1), ("target", 1), ("one_hot", 1000)]
)
def test_ten_thousand_categories_are_fine(encode, features):
    """One-hot encoding shares a column among the rarest; rows beyond a sample are not needed to see it."""
    codes = [f"c{number:05}" for number in range(10_000)]
    fitted = engineer(categorical={"columns": ["zone"], "encode": encode})
    fitted.fit(pd.DataFrame({"zone": codes}), np.arange(10_000.0))
    made = fitted.transform(pd.DataFrame({"zone": [*codes[:3], "new"]}))
    assert made.shape == (4, features)
    assert np.isfinite(made.to_numpy()).all()


def test_names_that_clash_are_told_apart():
    """The second one is marked; nothing else is."""
    table = pd.DataFrame({"zone_a": [1.0, 2.0], "zone": ["a", "b"]})
    made = engineer(numeric=numeric("zone_a"), categorical={"columns": ["zone"]}).fit(table)
    assert made.get_feature_names_out() == ["zone_a", "zone_a__2", "zone_b"]


def test_names_may_hold_anything():
    """Spaces, quotes, braces and letters of every script."""
    names = ['a "b"', "größe", "価格 [円]", "{x: 1}"]
    table = pd.DataFrame({name: [1.0, 2.0] for name in names})
    assert engineer(numeric=numeric(*names)).fit(table).get_feature_names_out() == names


def test_infinity_counts_as_missing():
    """A number that trees cannot hold is filled."""
    made = engineer(numeric=numeric(scale="none")).fit(TABLE).transform(pd.DataFrame({"rooms": [np.inf]}))
    assert made["rooms"].tolist() == [4.0]


def test_missing_columns_are_invalid_data():
    """They are named; the exit code is 3."""
    with pytest.raises(DataInvalidError) as caught:
        engineer(numeric=numeric("rooms", "garden")).fit(TABLE)
    assert caught.value.got == "missing columns: garden"
    assert caught.value.exit_code == 3


def test_without_a_feature_there_is_no_transformer():
    """The settings are asked for one."""
    with pytest.raises(ConfigError, match="there are no features"):
        engineer().build()


def test_unfitted_it_says_so():
    """Nothing is made up."""
    with pytest.raises(UsageError, match="call fit"):
        engineer(numeric=numeric()).transform(TABLE)


USER = """
from sklearn.base import BaseEstimator, TransformerMixin

class Sizes(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.seen_ = {name: str(X[name].dtype) for name in X.columns}
        return self

    def transform(self, X):
        return X.assign(size=X["rooms"] * X["garden"], zone=X["zone"].str.lower())

class Broken(Sizes):
    def fit(self, X, y=None):
        raise ValueError("the secret of row 7")

class Plain:
    pass

class Demanding(Sizes):
    def __init__(self, factor):
        self.factor = factor
"""
SCHEMA = {
    "rooms": {"type": "float"},
    "garden": {"type": "integer"},
    "zone": {"type": "string"},
    "note": {"type": "string"},
    "target": {"type": "float"},
}
RAW = pd.DataFrame({"rooms": [1.0, 2.0], "garden": [3, 4], "zone": ["A", "B"]})


def with_user_code(folder, name):
    (folder / "features.py").write_text(USER)
    return engineer(
        folder,
        schema=SCHEMA,
        numeric=numeric(scale="none"),
        categorical={"columns": ["zone"]},
        custom=name,
        left_out={"note": "free text"},
    )


def test_the_users_transformer_gets_the_raw_table_first(tmp_path):
    """It sees every column that is not left out, in fixed types, and what it adds becomes features."""
    fitted = with_user_code(tmp_path, "Sizes")
    made = fitted.fit_transform(RAW)
    assert made.columns.tolist() == ["rooms", "size", "zone_a", "zone_b"]
    assert made["size"].tolist() == [3.0, 8.0]
    assert fitted.transformer["custom"].transformer_.seen_ == {
        "rooms": "float64",
        "garden": "float64",
        "zone": "object",
    }
    assert [column.name for column in fitted.inputs] == ["rooms", "garden", "zone"]
    assert fitted.code_files[-1] == tmp_path / "features.py"
    assert type(fitted.transformer["custom"].transformer).__module__.startswith("features_")


def test_a_transformer_that_fails_is_named_with_its_line_and_without_its_message(tmp_path):
    """The message may quote rows."""
    with pytest.raises(ConfigError) as caught:
        with_user_code(tmp_path, "Broken").fit(RAW)
    assert caught.value.mistakes == ("line 14: ValueError",)
    assert caught.value.where == f"{tmp_path / 'features.py'}:14"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Plain", "Plain is not a transformer"),
        ("Demanding", "Demanding cannot be made without arguments"),
        ("Size", r"features\.py has no class Size"),
    ],
)
def test_a_class_that_is_no_transformer_is_refused(tmp_path, name, message):
    """The settings are wrong, and the file is named."""
    with pytest.raises(ConfigError, match=message) as caught:
        with_user_code(tmp_path, name).build()
    assert caught.value.where == str(tmp_path / "features.py")


def test_inputs_have_the_types_of_the_schema_or_of_their_role():
    """A table described in a notebook has no schema."""
    made = engineer(numeric=numeric(), datetime={"columns": ["day"]}, boolean={"columns": ["sold"]})
    assert [(column.name, column.type) for column in made.inputs] == [
        *(("rooms", "float"), ("sold", "boolean"), ("day", "datetime"))
    ]
