"""Every kind of target: the artifacts, metrics and versions of a run are all there."""

import numpy as np
import polars as pl
import pytest

from modelbook.errors import ConfigError

CLASSIFICATION = {
    "feature_importance.png",
    "confusion_matrix.png",
    "roc_curve.png",
    "pr_curve.png",
    "calibration.png",
    "classification_report.txt",
}
REGRESSION = {"feature_importance.png", "residuals.png", "predicted_vs_actual.png"}
COMMON = {
    "report.html",
    "evaluation_report.json",
    "config.yaml",
    "environment.lock",
    "metadata.json",
    "test_predictions.parquet",
}
NAMES = {
    "classification": ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"),
    "regression": ("rmse", "mae", "r2_score", "mape"),
}
LABELS = {
    "text": (["kept", "broke"], ("broke", "kept")),
    "truth": ([False, True], (False, True)),
    "numbers": ([0, 1], (0, 1)),
    "other numbers": ([7, 3], (3, 7)),
    "three classes": (["a", "b", "c"], ("a", "b", "c")),
    "three numbers": ([1, 2, 3], (1, 2, 3)),
}


def machines(labels, rows=240):
    """Return a table whose label can be told from two readings, most of the time."""
    random = np.random.default_rng(3)
    codes = random.integers(0, len(labels), rows)
    heat = codes * 10.0 + random.normal(50, 5, rows)
    shake = codes * 2.0 + random.normal(5, 1, rows)
    return pl.DataFrame({"heat": heat, "shake": shake, "label": [labels[code] for code in codes]})


@pytest.fixture
def classified(make_project, tmp_path):
    """Return a function that makes a project of classification."""
    return lambda labels: make_project(
        tmp_path / "machines", machines(labels), target="label", task="classification"
    )


@pytest.mark.parametrize("kind", LABELS)
def test_classes_of_every_type(kind, classified, plain_mlflow):
    """Labels of text, truth and numbers keep their type from the table to predictions and model."""
    labels, classes = LABELS[kind]
    project = classified(labels)
    outcome = project.run(use_dvc=False)
    metadata = project.metadata
    assert metadata.model.task == "classification"
    assert metadata.model.classes == classes
    assert [type(label) for label in metadata.model.classes] == [type(label) for label in classes]
    probabilities = [f"probability_{label}" for label in classes]
    assert project.predictions.columns == ["actual", "predicted", *probabilities]
    assert set(project.predictions["predicted"].to_list()) <= set(classes)
    sums = project.predictions.select(pl.sum_horizontal(probabilities)).to_series()
    assert np.allclose(sums, 1)
    names = {f"{part}_{name}" for part in ("train", "test") for name in NAMES["classification"]}
    assert outcome.metrics.keys() == names
    assert outcome.metrics["test_accuracy"] > 0.7
    (run,) = project.recorded
    artifacts = {entry.path for entry in project.client.list_artifacts(run.info.run_id)}
    assert artifacts >= CLASSIFICATION | COMMON
    rows = pl.read_parquet(project.root / "data/processed/test.parquet").drop("label").to_pandas()
    assert list(plain_mlflow(project).predict(rows)) == project.predictions["predicted"].to_list()


@pytest.mark.parametrize("algorithm", ["random_forest", "mlp"])
def test_test_rows_of_one_class(algorithm, make_project, tmp_path):
    """They end no run; a metric that they do not have fails its threshold."""
    table = machines(["kept", "broke"]).sort("label").with_row_index("day")
    project = make_project(tmp_path / "machines", table, target="label", task="classification")
    settings = {
        "model.algorithm": algorithm,
        "model.hyperparameters.mlp": "{max_iter: 20}",
        "split": "{method: time, column: day, test_size: 0.2, seed: 42}",
        "evaluation.thresholds": "{roc_auc: {min: 0.5}, accuracy: {min: 0.0}}",
    }
    project.set(settings)
    outcome = project.run(use_dvc=False)
    assert set(project.predictions["actual"]) == {"kept"}
    assert [(check.metric, check.passed) for check in outcome.gate.checks] == [
        ("roc_auc", False),
        ("accuracy", True),
    ]
    assert (project.root / "reports/report.html").is_file()


def test_an_unknown_positive_class_is_refused_before_fitting(classified):
    """The classes are named, and neither a run nor a model is left."""
    project = classified(["kept", "broke"])
    project.set({"evaluation.positive_class": "brok"})
    with pytest.raises(ConfigError, match="the positive class is none of the target's classes") as caught:
        project.run(use_dvc=False)
    assert caught.value.mistakes == (
        "evaluation.positive_class: got 'brok', the classes are 'broke' and 'kept'",
    )
    assert project.recorded == []
    assert not (project.root / "models/model.skops").exists()


def test_a_regression(finished_project):
    """A regression has its own plots and metrics, and predictions without probabilities."""
    (run,) = finished_project.recorded
    artifacts = {entry.path for entry in finished_project.client.list_artifacts(run.info.run_id)}
    assert artifacts >= REGRESSION | COMMON
    assert not artifacts & (CLASSIFICATION - REGRESSION)
    assert finished_project.predictions.columns == ["actual", "predicted"]


@pytest.mark.parametrize("task", NAMES)
def test_cross_validation_is_recorded(task, classified, fresh):
    """With folds, mean and standard deviation of each metric are metrics of the run."""
    project = classified(["x", "y"]) if task == "classification" else fresh
    project.set({"training.cv_folds": "3"})
    metrics = project.run(use_dvc=False).metrics
    expected = {f"cv_{name}_{part}" for name in NAMES[task] for part in ("mean", "std")}
    assert expected <= metrics.keys()
    assert project.recorded[0].data.metrics == metrics
    assert project.recorded[0].data.params["training.cv_folds"] == "3"


def test_a_blend_that_stops_early_is_recorded_with_what_was_found(fresh):
    """Weights and iterations are params of the run, and the model that is loaded again predicts the same."""
    from modelbook.registry.loading import load_model

    members = "[{xgboost: {n_estimators: 90, learning_rate: 0.3}}, {catboost: {n_estimators: 90}}, linear]"
    fresh.set(
        {
            "model.algorithm": "blend",
            "model.hyperparameters.blend": f"{{members: {members}, folds: 2}}",
            "training.target_transform": "log",
            "training.early_stopping": "{rounds: 5, share: 0.2}",
        }
    )
    outcome = fresh.run(use_dvc=False)
    params = fresh.recorded[0].data.params
    weights = [float(weight) for weight in params["weights"].split(", ")]
    assert params["members"] == "xgboost, catboost, linear"
    assert sum(weights) == pytest.approx(1)
    assert int(params["xgboost.n_estimators"]) < 90
    assert params["training.target_transform"] == "log"
    assert outcome.model.version == "1"
    rows = pl.read_parquet(fresh.root / "data/processed/test.parquet").drop("price").to_pandas()
    predicted = load_model("models:/houses/1", config=fresh.root).predict(rows)
    assert predicted.tolist() == fresh.predictions["predicted"].to_list()


@pytest.mark.parametrize("algorithm", ["extra_trees", "hist_gradient_boosting", "lightgbm", "linear"])
def test_every_algorithm_goes_all_the_way(algorithm, fresh):
    """Each algorithm of the catalogue is fitted, recorded, registered and loaded again."""
    from modelbook.registry.loading import load_model

    fresh.set({"model.algorithm": algorithm})
    if algorithm != "linear":
        trees = "max_iter" if algorithm == "hist_gradient_boosting" else "n_estimators"
        fresh.set({f"model.hyperparameters.{algorithm}.{trees}": "5"})
    outcome = fresh.run(use_dvc=False)
    assert (outcome.model.version, outcome.recorded) == ("1", "mlflow")
    rows = pl.read_parquet(fresh.root / "data/processed/test.parquet").drop("price").to_pandas()
    predicted = load_model("models:/houses/1", config=fresh.root).predict(rows)
    assert predicted.tolist() == fresh.predictions["predicted"].to_list()
