import math

from modelbook.config import load_config
from modelbook.evaluation.evaluate import ModelEvaluator

CLASSIFICATION = {
    "project": {"task": "classification"},
    "evaluation": {"positive_class": "no", "thresholds": {"recall": {"min": 0.6}, "roc_auc": {"min": 0.5}}},
}


def test_metrics_and_answers_come_together():
    """The report holds the metrics, each threshold's answer by name, and whether all were kept."""
    config = {"evaluation": {"thresholds": {"rmse": {"max": 1.0}, "mae": {"max": 2.0}}}}
    report = ModelEvaluator(config).evaluate([1.0, 2.0], [1.0, 4.0])
    assert list(report) == ["metrics", "threshold_checks", "all_checks_passed"]
    assert report["metrics"]["mae"] == 1
    assert report["threshold_checks"] == {"rmse_threshold": False, "mae_threshold": True}
    assert report["all_checks_passed"] is False


def test_without_thresholds_all_checks_are_passed():
    """No threshold, no check, nothing missed."""
    report = ModelEvaluator(load_config({})).evaluate([1.0, 2.0], [1.0, 4.0])
    assert report["threshold_checks"] == {}
    assert report["all_checks_passed"] is True


def test_the_positive_class_comes_from_the_settings():
    """Recall is about the class that the settings name; without probabilities roc_auc fails its check."""
    report = ModelEvaluator(CLASSIFICATION).evaluate(["no", "no", "yes"], ["no", "yes", "yes"])
    assert report["metrics"]["recall"] == 0.5
    assert math.isnan(report["metrics"]["roc_auc"])
    assert report["threshold_checks"] == {"recall_threshold": False, "roc_auc_threshold": False}


def test_probabilities_are_measured():
    """Probabilities with their classes give roc_auc and log_loss."""
    report = ModelEvaluator(CLASSIFICATION).evaluate(
        ["no", "yes"], ["no", "yes"], probabilities=[[0.9, 0.1], [0.2, 0.8]], classes=("no", "yes")
    )
    assert report["metrics"]["roc_auc"] == 1
    assert report["all_checks_passed"] is True
