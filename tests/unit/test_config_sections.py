import pytest

from modelbook.config import METRICS, load_config
from modelbook.errors import ConfigError

SCHEMA = {"area": {"type": "float"}, "price": {"type": "float"}}


def mistakes(settings):
    """Return the mistakes that are found in settings."""
    with pytest.raises(ConfigError) as caught:
        load_config(settings)
    assert caught.value.exit_code == 2
    return caught.value.mistakes


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"trainin": {}}, "trainin: unknown key"),
        ({"data": {"schema": {"a": {"type": "float", "maxx": 1}}}}, "data.schema.a.maxx: unknown key"),
        ({"serving": None}, "serving: input should be a mapping, got None"),
        ({"serving": {"prot": 1}}, "serving.prot: unknown key"),
        (
            {"serving": {"max_in_flight": 0}},
            "serving.max_in_flight: input should be greater than or equal to 1, got 0",
        ),
        ({"serving": {"timeout_s": 0}}, "serving.timeout_s: input should be greater than 0, got 0"),
        ({"serving": {"prediction_log": {"where": "x"}}}, "serving.prediction_log.where: unknown key"),
        ({"project": {"name": ""}}, "project.name: string should have at least 1 character, got ''"),
        ({"project": {"name": 7}}, "project.name: input should be text, in quotes if need be, got 7"),
        (
            {"project": {"task": "ranking"}},
            "project.task: input should be 'regression' or 'classification', got 'ranking'",
        ),
        ({"data": {"schema": {"a": {}}}}, "data.schema.a.type: missing"),
        ({"data": {"schema": {"a": "float"}}}, "data.schema.a: input should be a mapping, got 'float'"),
        (
            {"data": {"schema": {1: {"type": "float"}}}},
            "data.schema.1: input should be text, in quotes if need be, got 1",
        ),
        (
            {"data": {"schema": {"a": {"type": "float", "min": 2, "max": 1}}}},
            "data.schema.a: min 2.0 is larger than max 1.0",
        ),
        (
            {"data": {"max_rejected_share": 1.5}},
            "data.max_rejected_share: input should be less than or equal to 1, got 1.5",
        ),
        ({"data": {"sha256": "abc"}}, "data.sha256: string should match pattern '^[0-9a-f]{64}$', got 'abc'"),
        ({"split": {"test_size": 1}}, "split.test_size: input should be less than 1, got 1"),
        (
            {"split": {"test_size": float("nan")}},
            "split.test_size: input should be a finite number, got nan",
        ),
        ({"split": {"seed": "7"}}, "split.seed: input should be a whole number, got '7'"),
        ({"split": {"seed": True}}, "split.seed: input should be a whole number, got True"),
        ({"split": {"seed": 2**32}}, "split.seed: input should be less than 4294967296, got 4294967296"),
        ({"split": {"method": "time"}}, "split: method time needs column"),
        ({"split": {"method": "stratified"}}, "split.method: stratified is for classification"),
        (
            {"features": {"numeric": {"columns": "area"}}},
            "features.numeric.columns: input should be a list, got 'area'",
        ),
        (
            {"features": {"numeric": {"columns": ["a"]}, "left_out": {"a": "an id"}}},
            "features: columns with more than one role: a",
        ),
        (
            {"features": {"ratios": [{"numerator": "a", "denominator": "b"}]}},
            "features: ratios of columns that are not numeric features: a, b",
        ),
        (
            {"features": {"numeric": {"columns": ["target"]}}},
            "features: the target 'target' cannot be a feature",
        ),
        (
            {"data": {"schema": SCHEMA, "target": "price"}, "features": {"numeric": {"columns": ["rooms"]}}},
            "features: columns that data.schema does not have: rooms",
        ),
        (
            {"model": {"algorithm": "os.system"}},
            "model.algorithm: string should match pattern '^[A-Za-z_]\\w*$', got 'os.system'",
        ),
        (
            {"training": {"enable_mlflow": "no"}},
            "training.enable_mlflow: input should be true or false, got 'no'",
        ),
        ({"training": {"cv_folds": 1}}, "training: cv_folds 1 is no cross-validation: use 0 or at least 2"),
        ({"training": {"n_jobs": 0}}, "training: n_jobs 0: use -1 for every core or a number from 1"),
        (
            {"evaluation": {"thresholds": {"rmse": {}}}},
            "evaluation.thresholds.rmse: a threshold needs min, max or both",
        ),
        (
            {"evaluation": {"thresholds": {"rmse": {"max": float("inf")}}}},
            "evaluation.thresholds.rmse.max: input should be a finite number, got inf",
        ),
        (
            {"evaluation": {"thresholds": {"accuracy": {"min": 0.8}}}},
            "evaluation.thresholds: no regression metrics: accuracy",
        ),
        (
            {"evaluation": {"gate": {"slices": [{"column": "area", "thresholds": {}}]}}},
            (
                "evaluation.gate.slices.0.thresholds: dictionary should have at least 1 item after "
                "validation, not 0, got {}"
            ),
        ),
        (
            {"evaluation": {"gate": {"slices": [{"column": "area", "thresholds": {"rmse": {}}}]}}},
            "evaluation.gate.slices.0.thresholds.rmse: a slice's threshold needs min, max or max_worse",
        ),
        (
            {"evaluation": {"gate": {"slices": [{"column": "area", "thresholds": {"f1": {"min": 0.5}}}]}}},
            "evaluation.gate.slices.0.thresholds: no regression metrics: f1",
        ),
        (
            {"evaluation": {"gate": {"promotion": {"metric": "roc_auc"}}}},
            "evaluation.gate.promotion.metric: roc_auc is no regression metric",
        ),
        (
            {"evaluation": {"gate": {"promotion": {"resamples": 9999}}}},
            "evaluation.gate.promotion.resamples: input should be greater than or equal to 10000, got 9999",
        ),
        (
            {"evaluation": {"positive_class": 0.5}},
            "evaluation.positive_class: a class is text, a whole number, true or false, got 0.5",
        ),
        (
            {"serving": {"port": 65536}},
            "serving.port: input should be less than or equal to 65535, got 65536",
        ),
    ],
)
def test_a_mistake_is_named_with_its_path(settings, mistake):
    """One wrong setting is one mistake: its path, what is wrong and what was got."""
    assert mistakes(settings) == (mistake,)


def test_a_metric_that_does_not_exist():
    """A threshold on an unknown metric names those that there are."""
    (mistake,) = mistakes({"evaluation": {"thresholds": {"foo": {"min": 1}}}})
    assert mistake.startswith("evaluation.thresholds.foo: ")
    assert all(name in mistake for names in METRICS.values() for name in names)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a@b", "a:b", "a\\b", 'a"b', "a\n", " a", "a?b#c"])
def test_what_no_model_is_called(name):
    """A name that a reference, a folder or MLflow's filters would take for something else is refused."""
    (mistake,) = mistakes({"tracking": {"model_name": name}})
    assert mistake.startswith("tracking.model_name: a model's name has letters, digits and _")
    assert mistake.endswith(f"got {name!r}")


@pytest.mark.parametrize("name", ["a", "_", "o'brien's houses", "Häuser-am.See_2", "房价"])
def test_what_a_model_may_be_called(name):
    """Letters of any script, digits, and what stands between words make a name."""
    assert load_config({"tracking": {"model_name": name}}).tracking.model_name == name


def test_every_mistake_is_named_at_once():
    """Mistakes in several sections are told together."""
    settings = {"split": {"seed": -1, "sed": 1}, "training": {"n_jobs": 0}, "extra": 1}
    assert mistakes(settings) == (
        "split.seed: input should be greater than or equal to 0, got -1",
        "split.sed: unknown key",
        "training: n_jobs 0: use -1 for every core or a number from 1",
        "extra: unknown key",
    )


@pytest.mark.parametrize(
    ("source", "raw"),
    [
        ("data/raw/houses.csv", "data/raw/houses.csv"),
        ("/mnt/share/houses.parquet", "/mnt/share/houses.parquet"),
        ("https://example.org/data/houses.csv?version=2", "data/raw/houses.csv"),
        ("https://example.org/", "data/raw/table.csv"),
        ("postgresql://ann:secret@localhost/db", "data/raw/table.parquet"),
    ],
)
def test_where_the_own_copy_lies(source, raw):
    """Without data.raw a file is its own copy; what comes from elsewhere is put under data/raw."""
    assert load_config({"data": {"source": source}}).data.raw == raw
    assert load_config({"data": {"source": source, "raw": "mine.csv"}}).data.raw == "mine.csv"


@pytest.mark.parametrize("value", ["yes", 1, True, None])
def test_the_positive_class_keeps_its_type(value):
    """A class may be text, a whole number or a truth value, and is not made into another."""
    settings = {"project": {"task": "classification"}, "evaluation": {"positive_class": value}}
    kept = load_config(settings).evaluation.positive_class
    assert (type(kept), kept) == (type(value), value)


def test_columns_in_the_order_of_the_roles():
    """The raw columns of the model are those of every role, in their order; ratios and left_out add none."""
    features = {
        "boolean": {"columns": ["pool"]},
        "categorical": {"columns": ["town"]},
        "numeric": {"columns": ["area", "rooms"]},
        "ratios": [{"numerator": "area", "denominator": "rooms"}],
        "left_out": {"id": "different in every row"},
    }
    assert load_config({"features": features}).features.columns == ("area", "rooms", "town", "pool")


def test_settings_of_the_chosen_algorithm():
    """Only the chosen algorithm's settings count; one without an entry has its defaults."""
    settings = {
        "algorithm": "ridge",
        "hyperparameters": {"ridge": {"alpha": 2}, "lightgbm": {"max_depth": 3}},
    }
    assert load_config({"model": settings}).model.chosen == {"alpha": 2}
    assert load_config({"model": {"algorithm": "ridge"}}).model.chosen == {}


@pytest.mark.parametrize(
    ("column", "bins", "mistake"),
    [
        ("aera", None, "column: data.schema has no column 'aera'"),
        ("area", None, "bins: 'area' is a float column: say into how many groups it is cut"),
        ("built", None, "bins: 'built' is a datetime column: say into how many groups it is cut"),
        ("town", 3, "bins: 'town' is a string column: its values are the groups"),
        ("rooms", None, None),
        ("rooms", 3, None),
    ],
)
def test_a_slice_fits_its_column(column, bins, mistake):
    """A slice is over a column of the schema, and only what can be cut is cut."""
    types = {"area": "float", "built": "datetime", "town": "string", "rooms": "integer", "target": "float"}
    part = {"column": column, "bins": bins, "thresholds": {"rmse": {"max": 1}}}
    settings = {
        "data": {"schema": {name: {"type": kind} for name, kind in types.items()}},
        "evaluation": {"gate": {"slices": [part]}},
    }
    if mistake is None:
        assert load_config(settings).evaluation.gate.slices[0].bins == bins
    else:
        assert mistakes(settings) == (f"evaluation.gate.slices.0.{mistake}",)


def test_a_column_has_one_slice():
    """Two slices over one column would give two checks one name."""
    part = {"column": "town", "thresholds": {"rmse": {"max": 1}}}
    assert mistakes({"evaluation": {"gate": {"slices": [part, part]}}}) == (
        "evaluation.gate.slices.1.column: 'town' has a slice already",
    )
