import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from modelbook.errors import UsageError
from modelbook.evaluation.canvas import plain
from modelbook.evaluation.plots import draw_plots

PNG = b"\x89PNG\r\n\x1a\n"
CURVES = ["roc_curve.png", "pr_curve.png", "calibration.png"]


def names(paths):
    return [path.name for path in paths]


def drawn(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def scored(n_classes, n_rows, *, label="class"):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(n_classes) / 2, n_rows)
    classes = [f"{label} {code:02d}" for code in range(n_classes)]
    table = pd.DataFrame(probabilities, columns=[f"probability_{name}" for name in classes])
    actual = [classes[code] for code in generator.integers(0, n_classes, n_rows)]
    predicted = [classes[code] for code in probabilities.argmax(axis=1)]
    return table.assign(actual=actual, predicted=predicted), classes


def test_regression_plots(regression_predictions, importances, tmp_path):
    """A regression gives three PNGs, and the data of two of them for `dvc plots`."""
    paths = draw_plots(regression_predictions, importances, task="regression", folder=tmp_path / "plots")
    assert names(paths) == ["predicted_vs_actual.png", "residuals.png", "feature_importance.png"]
    assert all(path.read_bytes().startswith(PNG) for path in paths)
    points = pd.read_csv(tmp_path / "plots" / "predicted_vs_actual.csv")
    assert list(points) == ["actual", "predicted"]
    assert len(points) == len(regression_predictions)
    bars = pd.read_csv(tmp_path / "plots" / "feature_importance.csv")
    assert dict(zip(bars["feature"], bars["importance"], strict=True)) == importances


def test_binary_plots(binary_predictions, importances, tmp_path):
    """Two classes give every plot of classification, the text report and the labels for `dvc plots`."""
    paths = draw_plots(
        binary_predictions,
        importances,
        task="classification",
        classes=("benign", "malignant"),
        folder=tmp_path,
    )
    expected = ["confusion_matrix.png", *CURVES, "classification_report.txt", "feature_importance.png"]
    assert names(paths) == expected
    assert "malignant" in (tmp_path / "classification_report.txt").read_text()
    assert len(pd.read_csv(tmp_path / "confusion.csv")) == len(binary_predictions)


def test_multiclass_plots(multiclass_predictions, importances, tmp_path):
    """Three classes give the same plots, a curve each."""
    classes = ("setosa", "versicolor", "virginica")
    paths = draw_plots(
        multiclass_predictions, importances, task="classification", classes=classes, folder=tmp_path
    )
    assert set(CURVES) < set(names(paths))


def test_many_classes_are_summed_up(tmp_path):
    """Beyond ten classes the curves are micro and macro means, and the matrix stays a plot."""
    table, classes = scored(30, 300)
    paths = draw_plots(table, {}, task="classification", classes=classes, folder=tmp_path)
    assert set(CURVES) < set(names(paths))


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_equal_input_gives_equal_bytes(
    *, task, regression_predictions, multiclass_predictions, importances, tmp_path
):
    """Drawn twice, every file is the same to the byte: no time, version or chance is in it."""
    classes = ("setosa", "versicolor", "virginica") if task == "classification" else ()
    table = multiclass_predictions if classes else regression_predictions
    for folder in ("first", "second"):
        draw_plots(table, importances, task=task, classes=classes, folder=tmp_path / folder)
    assert drawn(tmp_path / "first") == drawn(tmp_path / "second")


def test_large_tables_are_thinned_evenly(tmp_path):
    """Points for `dvc plots` are at most a thousand, the first and the last row among them."""
    values = np.arange(5_000, dtype=float)
    table = pd.DataFrame({"actual": values, "predicted": values + 1})
    draw_plots(table, {}, task="regression", folder=tmp_path)
    points = pd.read_csv(tmp_path / "predicted_vs_actual.csv")
    assert len(points) == 1_000
    assert points["actual"].iloc[[0, -1]].tolist() == [0, 4_999]


def test_without_probabilities_there_are_no_curves(binary_predictions, tmp_path):
    """An estimator without probabilities gets the matrix and the text alone."""
    table = binary_predictions[["actual", "predicted"]]
    paths = draw_plots(table, {}, task="classification", classes=("benign", "malignant"), folder=tmp_path)
    assert names(paths) == ["confusion_matrix.png", "classification_report.txt"]


def test_one_class_in_the_test_rows_has_no_curves(tmp_path):
    """Where no class can be told from the rest there is nothing to draw a curve of."""
    table = pd.DataFrame(
        {"actual": ["a"], "predicted": ["a"], "probability_a": [0.9], "probability_b": [0.1]}
    )
    paths = draw_plots(table, {}, task="classification", classes=("a", "b"), folder=tmp_path)
    assert names(paths) == ["confusion_matrix.png", "classification_report.txt"]


def test_a_class_the_model_never_saw_is_drawn(tmp_path):
    """A class that occurs only in the test rows gets its line in matrix and text."""
    table, classes = scored(2, 20)
    table.loc[0, "actual"] = "new"
    paths = draw_plots(table, {}, task="classification", classes=classes, folder=tmp_path)
    assert set(CURVES) < set(names(paths))
    assert "new" in (tmp_path / "classification_report.txt").read_text()


@pytest.mark.parametrize("predicted", [[np.nan, np.nan], [np.inf, np.nan]])
def test_nothing_finite_is_nothing_to_draw(predicted, tmp_path):
    """A model that predicts no finite number gets no plots, and no crash."""
    table = pd.DataFrame({"actual": [1.0, 2.0], "predicted": predicted})
    assert draw_plots(table, {}, task="regression", folder=tmp_path) == ()


def test_equal_values_are_drawn(tmp_path):
    """A constant prediction of a constant target is a plot, not a warning about its limits."""
    table = pd.DataFrame({"actual": [0.0] * 4_000, "predicted": [0.0] * 4_000})
    assert len(draw_plots(table, {"x": 0.0}, task="regression", folder=tmp_path)) == 3


@pytest.mark.parametrize(
    "label", ["$\\frac{", "_hidden", "日本", "<script>", "a\nb\x00", "x" * 300, "%s {0}"]
)
def test_any_name_can_be_drawn(label, tmp_path):
    """Class and feature names are text: no formula, no hidden legend entry, no warning about a font."""
    table, classes = scored(2, 30, label=label)
    paths = draw_plots(table, {label: 1.0}, task="classification", classes=classes, folder=tmp_path)
    assert len(paths) == 6


def test_missing_predictions_are_refused(tmp_path):
    """A label that is missing is an error that counts the rows."""
    table = pd.DataFrame({"actual": ["a", "b"], "predicted": ["a", None]})
    with pytest.raises(UsageError, match="1 such rows of 2"):
        draw_plots(table, {}, task="classification", classes=("a", "b"), folder=tmp_path)


def test_names_fit_on_one_line():
    """Control characters become spaces and long names end in an ellipsis."""
    assert plain("a\t\x00b") == "a b"
    assert plain("x" * 40, 5) == "xxxx…"


def test_pyplot_stays_out():
    """Drawing loads no pyplot, so no global figure is left behind and no backend is chosen."""
    code = "import sys, modelbook.evaluation.plots; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
