"""Each estimator of the catalogue compiled: its predictions are those of the model that it was made of."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelbook.config import load_config
from modelbook.errors import DataInvalidError, ModelRefusedError
from modelbook.features.engineer import FeatureEngineer
from modelbook.models.package import pack
from modelbook.models.train import ModelTrainer
from modelbook.registry.loading import FoundModel
from modelbook.serving.bundle import write_bundle
from modelbook.serving.runtime import check_golden, open_runtime
from modelbook.serving.trial_rows import rows_of

TYPES = {
    "räume": "integer",
    "area": "float",
    "zone": "string",
    "new": "boolean",
    "built": "datetime",
    "code": "integer",
}
TREES = {"n_estimators": 7}
FILLED, GAPS = {"impute": "median"}, {"impute": "none"}
NATIVE, ONE_HOT = {"encode": "native"}, {"encode": "one_hot"}
NUMBER = "number"
CUSTOM = """
from sklearn.base import BaseEstimator, TransformerMixin

class Rounded(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.assign(area=X["area"].round())
"""


def houses(rows: int, seed: int = 3, *, gaps: float = 0.06) -> pd.DataFrame:
    """Return houses with a column of every type, some of whose values are missing."""
    random = np.random.default_rng(seed)
    built = pd.Timestamp("1999-12-30") + pd.to_timedelta(random.integers(0, 10**7, rows), unit="m")
    table = pd.DataFrame(
        {
            "räume": random.integers(1, 9, rows),
            "area": random.normal(100, 20, rows),
            "zone": random.choice(["a", "b", "ü", "日本"], rows),
            "new": random.choice([True, False], rows),
            "built": built.as_unit("us"),
            "code": random.integers(0, 40, rows),
        }
    )
    return table.mask(random.random(table.shape) < gaps)


def target_of(table: pd.DataFrame, kind: str) -> np.ndarray:
    score = (
        table["area"].fillna(100) + 5 * table["räume"].fillna(4) + 20 * (table["zone"] == "a")
    ).to_numpy()
    return {
        NUMBER: score,
        "words": np.where(score > 125, "yes", "no"),
        "truths": score > 125,
        "integers": np.where(score > 125, 7, 3),
        "three": np.select([score > 140, score > 115], ["höch", "middle"], "low"),
    }[kind]


@pytest.fixture
def bundled(tmp_path: Path):
    """Return a function that trains a model and bundles it, and returns the trainer and the open runtime."""

    def make(
        algorithm,
        settings,
        *,
        target=NUMBER,
        numeric=FILLED,
        encode=ONE_HOT,
        table=None,
        golden=None,
        **config,
    ):
        task = "regression" if target == NUMBER else "classification"
        schema = {name: {"type": kind, "nullable": True} for name, kind in TYPES.items()}
        features = {
            "numeric": {"columns": ["räume", "area"], **numeric},
            "categorical": {"columns": ["zone", "code"], **encode},
            "boolean": {"columns": ["new"]},
            "datetime": {"columns": ["built"], "parts": ["year", "weekday"]},
        }
        config = {
            "project": {"task": task},
            "data": {"target": "sold", "schema": schema | {"sold": {"type": "string"}}},
            "features": features | config.pop("features", {}),
            "model": {"algorithm": algorithm, "hyperparameters": {algorithm: settings}},
            **config,
        }
        table = houses(250) if table is None else table
        config = load_config(config).at(tmp_path)
        trainer = ModelTrainer(config)
        model = trainer.train(table, pd.Series(target_of(table, target)))
        record = pack(
            model,
            tmp_path / "package",
            algorithm=algorithm,
            task=task,
            target="sold",
            inputs=FeatureEngineer(config).inputs,
            code=trainer.code_files,
        )
        manifest = write_bundle(
            FoundModel(model, record), tmp_path / "package", tmp_path / "bundle", golden=golden
        )
        return trainer, manifest, open_runtime(tmp_path / "bundle")

    return make


def assert_served_as_trained(trainer, runtime, *, rtol: float, gaps: float = 0.06) -> None:
    new = pd.concat([houses(60, seed=9, gaps=gaps), houses(3, gaps=gaps).assign(zone="elsewhere", code=99)])
    rows = rows_of(new, runtime.record.inputs)
    answer = runtime.predict(rows, with_probabilities=True)
    expected = trainer.predict(new)
    if runtime.record.task == "regression":
        np.testing.assert_allclose(answer.predictions, expected, rtol=rtol)
        return
    assert answer.predictions.dtype == expected.dtype
    assert answer.predictions.tolist() == expected.tolist()
    np.testing.assert_allclose(answer.probabilities, trainer.predict_proba(new), rtol=rtol)


EXACT, LAST_DIGIT, SINGLE = 0.0, 1e-14, 1e-5
HISTOGRAM = "hist_gradient_boosting"
CASES = {
    "forest": ("random_forest", TREES, {}, EXACT),
    "forest with gaps": ("random_forest", TREES, {"numeric": GAPS}, EXACT),
    "forest, three classes": ("random_forest", TREES, {"target": "three"}, EXACT),
    "extra trees, truths": ("extra_trees", TREES, {"target": "truths"}, EXACT),
    "histogram with gaps": (HISTOGRAM, {"max_iter": 7}, {"numeric": GAPS}, EXACT),
    "histogram, categories": (HISTOGRAM, {"max_iter": 7}, {"numeric": GAPS, "encode": NATIVE}, EXACT),
    "histogram, logarithmic": (HISTOGRAM, {"max_iter": 7, "loss": "poisson"}, {}, LAST_DIGIT),
    "histogram, three": (HISTOGRAM, {"max_iter": 7}, {"target": "three", "encode": NATIVE}, LAST_DIGIT),
    "histogram, integers": (HISTOGRAM, {"max_iter": 7}, {"target": "integers"}, LAST_DIGIT),
    "lightgbm with gaps": ("lightgbm", TREES, {"numeric": GAPS}, EXACT),
    "lightgbm, categories": (
        "lightgbm",
        TREES | {"min_child_samples": 5},
        {"numeric": GAPS, "encode": NATIVE},
        EXACT,
    ),
    "lightgbm, three": ("lightgbm", TREES, {"target": "three"}, LAST_DIGIT),
    "lightgbm, words": ("lightgbm", TREES, {"target": "words"}, LAST_DIGIT),
    "lightgbm, random forest": (
        "lightgbm",
        TREES | {"boosting_type": "rf", "subsample": 0.5},
        {},
        LAST_DIGIT,
    ),
    "xgboost with gaps": ("xgboost", TREES, {"numeric": GAPS}, EXACT),
    "xgboost, categories": ("xgboost", TREES, {"numeric": GAPS, "encode": NATIVE}, EXACT),
    "xgboost, three": ("xgboost", TREES, {"target": "three"}, SINGLE),
    "xgboost, words": ("xgboost", TREES, {"target": "words"}, SINGLE),
    "catboost with gaps": ("catboost", TREES, {"numeric": GAPS}, LAST_DIGIT),
    "catboost, three": ("catboost", TREES, {"target": "three"}, LAST_DIGIT),
    "catboost, words": ("catboost", TREES | {"depth": 3}, {"target": "words"}, LAST_DIGIT),
    "ridge": ("linear", {}, {}, EXACT),
    "logistic, integers": ("linear", {}, {"target": "integers"}, LAST_DIGIT),
    "logistic, three": ("linear", {}, {"target": "three", "encode": {"encode": "target"}}, LAST_DIGIT),
    "network": ("mlp", {"max_iter": 3}, {}, EXACT),
    "network, three": ("mlp", {"max_iter": 3}, {"target": "three"}, LAST_DIGIT),
    "network, truths": ("mlp", {"max_iter": 3, "activation": "logistic"}, {"target": "truths"}, 1e-12),
    "logarithm": ("lightgbm", TREES, {"training": {"target_transform": "log"}}, EXACT),
    "quantiles": ("linear", {}, {"training": {"target_transform": "quantile"}}, LAST_DIGIT),
    "blend": ("blend", {"members": ["linear", {"lightgbm": TREES}], "weights": [1, 3]}, {}, EXACT),
    "blend, words": (
        "blend",
        {"members": ["linear", {"xgboost": TREES}], "weights": [1, 1]},
        {"target": "words"},
        SINGLE,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_served_as_trained(bundled, case: str):
    """A bundle of it is compiled and says what the trainer says: gaps, unknown categories and all."""
    algorithm, settings, rest, rtol = CASES[case]
    trainer, manifest, runtime = bundled(algorithm, settings, **rest)
    assert (manifest.kind, manifest.why, runtime.kind) == ("compiled", None, "compiled")
    assert_served_as_trained(trainer, runtime, rtol=rtol)
    check_golden(runtime)


@pytest.mark.parametrize(
    ("algorithm", "settings", "encode"),
    [
        ("catboost", TREES, NATIVE),
        ("catboost", TREES | {"grow_policy": "Lossguide"}, ONE_HOT),
        ("catboost", TREES | {"loss_function": "Poisson"}, ONE_HOT),
        ("lightgbm", TREES | {"linear_tree": True}, ONE_HOT),
    ],
    ids=["categories that are counted", "trees of another kind", "another loss", "leaves that hold lines"],
)
def test_what_is_not_known_is_served_with_its_own_code(bundled, algorithm, *, settings, encode):
    """A setting that nothing here knows is not guessed at."""
    trainer, manifest, runtime = bundled(algorithm, settings, encode=encode)
    assert (manifest.kind, runtime.kind) == ("reference", "reference")
    assert_served_as_trained(trainer, runtime, rtol=EXACT)


def test_a_number_that_is_a_gap_is_not_compiled(bundled):
    """Where a number stands for a gap, that is the reason why the model's own code answers."""
    trainer, manifest, runtime = bundled("xgboost", TREES | {"missing": 0.0})
    assert (manifest.kind, manifest.why) == ("reference", "it takes a number for a gap")
    assert_served_as_trained(trainer, runtime, rtol=EXACT)


@pytest.mark.parametrize("algorithm", ["linear", "mlp"])
def test_a_gap_that_is_not_filled_is_refused(bundled, algorithm: str):
    """Where the model itself would refuse a row with a gap, so does what was compiled of it."""
    trainer, _, runtime = bundled(algorithm, {}, numeric=GAPS, table=houses(80, gaps=0.0))
    assert runtime.kind == "compiled"
    assert_served_as_trained(trainer, runtime, rtol=EXACT, gaps=0.0)
    with pytest.raises(DataInvalidError, match="does not take the rows"):
        runtime.predict(rows_of(houses(60), runtime.record.inputs))


def test_a_custom_transformer_is_served_with_its_own_code(bundled, tmp_path: Path, caplog):
    """What only its code knows is not compiled, and that is said; the answers are those of training."""
    (tmp_path / "features.py").write_text(CUSTOM)
    trainer, manifest, runtime = bundled("linear", {}, features={"custom": "Rounded"})
    assert (manifest.kind, runtime.kind) == ("reference", "reference")
    assert "CustomColumns" in manifest.why
    assert manifest.why in caplog.text
    assert_served_as_trained(trainer, runtime, rtol=EXACT)
    check_golden(runtime)


def test_other_predictions_than_recorded_are_not_compiled(bundled):
    """Where one recorded prediction is another, the model's own code answers, and its golden rows say so."""
    table = houses(80)
    told = table.assign(predicted=target_of(table, NUMBER))
    _, manifest, runtime = bundled("linear", {}, golden=told)
    assert manifest.kind == "reference"
    assert "of 80 recorded rows" in manifest.why
    with pytest.raises(ModelRefusedError):
        check_golden(runtime)


def test_a_model_that_is_built_otherwise(bundled, monkeypatch):
    """A model of another version, in which something is not where it is looked for, is no failure."""
    monkeypatch.setattr("modelbook.serving.compiling.model.compile_estimator", lambda model, *_: model.gone_)
    trainer, manifest, runtime = bundled("linear", {})
    assert "AttributeError" in manifest.why
    assert_served_as_trained(trainer, runtime, rtol=EXACT)


def test_several_threads_ask_at_once(bundled):
    """Whoever asks beside others gets the same answers as alone."""
    _, _, runtime = bundled("random_forest", TREES, target="three")
    rows = [rows_of(houses(50, seed=seed), runtime.record.inputs) for seed in range(8)]
    alone = [runtime.predict(each, with_probabilities=True).probabilities for each in rows]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: runtime.predict(each, with_probabilities=True), rows * 5))
    for expected, answer in zip(alone * 5, together, strict=True):
        np.testing.assert_array_equal(answer.probabilities, expected)


def test_golden_rows(bundled):
    """A model that says something else of its golden rows is refused, and so is one that cannot answer."""
    _, _, runtime = bundled("linear", {})
    changed = [number * 1.001 for number in runtime.golden.predictions]
    runtime.golden = runtime.golden.model_copy(update={"predictions": tuple(changed)})
    with pytest.raises(ModelRefusedError, match="does not answer as it did"):
        check_golden(runtime)


def test_a_number_is_no_truth(bundled):
    """A true-or-false column that has another number than 0 or 1 is refused by name, not guessed at."""
    _, _, runtime = bundled("linear", {})
    rows = dict(runtime.golden.rows_of(runtime.record))
    rows["new"] = np.full_like(rows["new"], 2.0)
    with pytest.raises(DataInvalidError) as refused:
        runtime.predict(rows)
    assert "'new'" in refused.value.where
