"""Runs, predictions and reports as the pipeline makes them, on small data."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from modelbook.config import load_config
from modelbook.evaluation.metrics import compute_metrics
from modelbook.records import (
    CodeState,
    ColumnSummary,
    DataVersion,
    Environment,
    InputColumn,
    Lineage,
    ModelRecord,
    RejectedRows,
    RunMetadata,
    ValidationReport,
)

HOSTILE = "<script>alert('x')</script>"
STARTED = datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC)


@pytest.fixture
def hostile_name():
    return HOSTILE


@pytest.fixture(scope="session")
def regression_predictions():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = DecisionTreeRegressor(max_depth=4, random_state=0).fit(X[100:], y[100:])
    return pd.DataFrame({"actual": y[:100].to_numpy(), "predicted": model.predict(X[:100])})


@pytest.fixture(scope="session")
def binary_predictions():
    return _classify(*load_breast_cancer(return_X_y=True), names=("benign", "malignant"))


@pytest.fixture(scope="session")
def multiclass_predictions():
    return _classify(*load_iris(return_X_y=True), names=("setosa", "versicolor", "virginica"))


@pytest.fixture
def importances():
    return {"bmi": 0.51, "s5": 0.3, HOSTILE: 0.12, "bp": 0.07}


@pytest.fixture
def validation():
    return ValidationReport(
        rows=450,
        valid_rows=442,
        rejected=(
            RejectedRows(reason="missing value", column="bmi", rows=5),
            RejectedRows(reason="above the largest value", column=HOSTILE, rows=3),
        ),
        warnings=("s2: correlates with the target at 0.999, as a leak does",),
        failures=(),
        columns=(
            ColumnSummary(name="bmi", type="float", nulls=0, distinct=163, min=-0.09, max=0.17, mean=0.0),
            ColumnSummary(name=HOSTILE, type="string", nulls=4, distinct=2),
        ),
    )


@pytest.fixture
def run(regression_predictions, importances):
    return make_run(regression_predictions, task="regression", importances=importances)


@pytest.fixture
def previous_run(regression_predictions, importances):
    worse = regression_predictions.assign(predicted=regression_predictions["predicted"] + 10)
    return make_run(
        worse, task="regression", importances=importances, depth=3, started=STARTED - timedelta(days=1)
    )


@pytest.fixture
def binary_run(binary_predictions, importances):
    classes = ("benign", "malignant")
    return make_run(binary_predictions, task="classification", importances=importances, classes=classes)


def make_run(predictions, *, task, importances, classes=(), depth=4, started=STARTED):
    """Return the record of a run that made these predictions."""
    probabilities = predictions.filter(regex="^probability_").to_numpy() if classes else None
    metrics = compute_metrics(
        task, predictions["actual"], predictions["predicted"], probabilities=probabilities, classes=classes
    )
    name = f"decision_tree_{started:%Y%m%d_%H%M%S}"
    return RunMetadata(
        uid=f"{depth:032x}",
        run_id=f"{depth:032x}",
        run_name=name,
        experiment="diabetes",
        started_at=started,
        ended_at=started + timedelta(seconds=3.14),
        params={
            "max_depth": str(depth),
            "algorithm": "decision_tree",
            "train_samples": "342",
            "test_samples": str(len(predictions)),
            "split.seed": "42",
        },
        metrics={f"test_{key}": value for key, value in metrics.items()}
        | {f"train_{key}": value * 0.9 for key, value in metrics.items()}
        | {f"cv_{key}_mean": value * 1.01 for key, value in metrics.items()}
        | {f"cv_{key}_std": abs(value) * 0.02 for key, value in metrics.items()},
        importances=importances,
        model=_model(task, classes),
        lineage=_lineage(task),
    )


def _classify(X, y, *, names):
    labels = pd.Series(y).map(dict(enumerate(names))).to_numpy(dtype=object)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05)).fit(X[::2, :3], labels[::2])
    probabilities = model.predict_proba(X[1::2, :3])
    table = pd.DataFrame({"actual": labels[1::2], "predicted": model.predict(X[1::2, :3])})
    return table.assign(
        **{f"probability_{name}": probabilities[:, code] for code, name in enumerate(model.classes_)}
    )


def _model(task, classes):
    return ModelRecord(
        algorithm="decision_tree",
        task=task,
        target="progression",
        classes=classes,
        inputs=(InputColumn(name="bmi", type="float", nullable=False),),
        file="model.skops",
        sha256="b" * 64,
        size_bytes=48_200,
        digest="c" * 64,
        code=(),
        requirements=("scikit-learn==1.9.1",),
    )


def _lineage(task):
    config = load_config({"project": {"task": task}}, environ={})
    packages = {f"package-{number}": f"1.{number}" for number in range(40)}
    return Lineage(
        code=CodeState(commit="0123456789abcdef0123456789abcdef01234567", branch="main", is_dirty=True),
        data=(DataVersion(path="data/raw/table.csv", md5="d" * 32, size_bytes=18_000, rows=450),),
        config=config.as_dict(),
        config_sha256=config.sha256,
        environment=Environment(
            python="3.11.7",
            platform="Linux-6.1-x86_64",
            cpu="Some CPU @ 2.20GHz",
            packages=packages,
            sha256="e" * 64,
        ),
        seeds={"split": 42, "training": 42},
        threads=2,
        command="modelbook run --set model.algorithm=decision_tree",
        host="bench",
    )
