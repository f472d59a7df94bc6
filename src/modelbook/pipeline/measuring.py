"""A model measured on rows, by the metrics of its task."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from modelbook.config import Config
from modelbook.evaluation.metrics import columns_of, compute_metrics, known_classes, positive_position
from modelbook.models.cross_validation import Score
from modelbook.models.train import ModelTrainer


def check_positive_class(train: pd.DataFrame, config: Config) -> None:
    """Refuse a positive class that the target does not have, before hours of fitting rather than after."""
    if config.project.task == "classification":
        positive_position(known_classes(train[config.data.target]), config.evaluation.positive_class)


def divided(table: pd.DataFrame, config: Config) -> tuple[pd.DataFrame, pd.Series]:
    """Return a table's raw columns and its target."""
    return table.drop(columns=config.data.target), table[config.data.target]


def evaluate(
    trainer: ModelTrainer, train: pd.DataFrame, test: pd.DataFrame
) -> tuple[dict[str, float], pd.DataFrame]:
    """Return a fitted model's metrics on training and test rows, and its predictions on test rows."""
    metrics: dict[str, float] = {}
    score = scoring(trainer.config, trainer.classes)
    for prefix, table in (("train", train), ("test", test)):
        predictions = predict_rows(trainer, table)
        measured = score(*columns_of(predictions))
        metrics |= {f"{prefix}_{name}": value for name, value in measured.items()}
    return metrics, predictions


def predict_rows(trainer: ModelTrainer, table: pd.DataFrame) -> pd.DataFrame:
    """Return `actual`, `predicted` and `probability_<class>` for each row."""
    X, y = divided(table, trainer.config)
    frame = pd.DataFrame({"actual": y.to_numpy(), "predicted": trainer.predict(X)})
    if trainer.classes and hasattr(trainer.model, "predict_proba"):
        probabilities = trainer.predict_proba(X)
        names = [f"probability_{label}" for label in trainer.classes]
        frame = pd.concat([frame, pd.DataFrame(probabilities, columns=names)], axis=1)
    return frame


def scoring(config: Config, classes: Sequence[Any]) -> Score:
    """Return what measures predictions by the metrics of the task, the classes in this order."""

    def score(y_true: Any, y_pred: Any, probabilities: Any) -> dict[str, float]:
        return compute_metrics(
            config.project.task,
            y_true,
            y_pred,
            probabilities=probabilities,
            classes=classes,
            positive_class=config.evaluation.positive_class,
        )

    return score
