"""Cross-validation on training rows: features and estimator fitted anew in each fold."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelbook.config import Config
from modelbook.models.fit import fit_pipeline
from modelbook.models.folds import folds, of_all_classes
from modelbook.models.predict import in_chunks

Array = npt.NDArray[Any]
Score = Callable[[Array, Array, Array | None], Mapping[str, float]]


def cross_validate(
    config: Config, X: pd.DataFrame, *, y: Array, score: Score, transformer: Any = None, threads: int = 1
) -> dict[str, float]:
    """Return mean and standard deviation of each metric over the folds.

    Features and estimator are fitted anew in each fold, on its training rows alone.

    Args:
        config: The settings.
        X: Raw columns of training rows, `(n_rows, n_columns)`.
        y: The target, `(n_rows,)`.
        score: Takes true values, predictions and, for classification, probabilities
            `(n_rows, n_classes)` with the classes of y sorted; returns metrics by name.
        transformer: What makes the features, cloned for each fold; None builds it from the settings.
        threads: Threads to predict with.

    Returns:
        `cv_<metric>_mean` and `cv_<metric>_std` (over the folds, divided by their number).

    Raises:
        ConfigError: The settings do not make a model.
        DataInvalidError: There are too few rows, groups or times for the folds.
        UsageError: The column that the split goes by is not in X.
    """
    scores = []
    for train, test in folds(config, X, y):
        model = fit_pipeline(config, X.iloc[train], y=y[train], transformer=transformer)
        held_out = X.iloc[test]
        predicted = in_chunks(model.predict, held_out, threads=threads)
        probabilities = None
        if config.project.task == "classification" and hasattr(model, "predict_proba"):
            raw = in_chunks(model.predict_proba, held_out, threads=threads)
            probabilities = of_all_classes(raw, model.classes_, np.unique(y))
        scores.append(score(y[test], predicted, probabilities))
    return _summary(scores)


def _summary(scores: list[Mapping[str, float]]) -> dict[str, float]:
    summary = {}
    for name in scores[0]:
        values = np.array([score[name] for score in scores])
        summary[f"cv_{name}_mean"] = float(values.mean())
        summary[f"cv_{name}_std"] = float(values.std())
    return summary
