"""What each feature is worth: how much worse held-out rows are predicted once its values are shuffled."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from modelbook.config import Task
from modelbook.evaluation.gate import LOWER_IS_BETTER
from modelbook.evaluation.metrics import compute_metrics
from modelbook.features.engineer import feature_names

Array = npt.NDArray[Any]

WORTH_COLUMNS = ("feature", "metric", "worth", "spread", "rows", "repeats")
_REPEATS = 5
# A forest of 300 trees predicts so many rows in half a second: with ten features 240 rows, five times.
_PREDICTIONS = 12_000
_FEWEST_ROWS = 100
_MOST_ROWS = 1000
_MOST_FEATURES = 100


def feature_worth(
    model: Pipeline, X: pd.DataFrame, *, y: Array, task: Task, seed: int, importances: Mapping[str, float]
) -> pd.DataFrame:
    """Return what each feature is worth on held-out rows, the most first.

    A feature's values are shuffled among the rows, five times; its worth is by how much the metric gets
    worse: rmse for regression, log_loss for classes, or accuracy where the estimator gives no probabilities.
    The features that one text column became are shuffled together. At most 12,000 predictions are made, or
    100 rows five times for each of 100 features.

    Args:
        model: A fitted pipeline of features and estimator, whose `n_jobs` are 1.
        X: Raw columns of held-out rows, `(n_rows, n_columns)`.
        y: Their target, `(n_rows,)`.
        task: What the model predicts.
        seed: The seed of rows and shuffles.
        importances: The model's own; where there are more features than 100, the first of them are looked at.

    Returns:
        `feature`, `metric`, `worth` (mean over the repeats, in the metric's unit; about 0 or below for a
        feature that helps nothing), `spread` (standard deviation over the repeats), `rows`, `repeats`.

    Source:
        L. Breiman, "Random Forests", Machine Learning 45 (2001) 5-32, section 10.
    """
    groups = _chosen(_groups(model["features"]), importances)
    rng = np.random.default_rng(seed)
    rows = max(_FEWEST_ROWS, min(_MOST_ROWS, _PREDICTIONS // (_REPEATS * max(len(groups), 1))))
    chosen = np.sort(rng.permutation(len(X))[:rows])
    with threadpool_limits(1, user_api="blas"):
        matrix = model["features"].transform(X.iloc[chosen])
        judge = _Judge(model["estimator"], y[chosen], task)
        losses = {name: judge.losses(matrix, columns, rng) for name, columns in groups.items()}
    found = [
        (name, judge.metric, float(loss.mean()), float(loss.std(ddof=1)), len(chosen), _REPEATS)
        for name, loss in losses.items()
    ]
    table = pd.DataFrame(found, columns=list(WORTH_COLUMNS))
    return table.sort_values("worth", ascending=False, kind="stable", ignore_index=True)


class _Judge:
    """Says what an estimator loses on rows whose features were shuffled."""

    def __init__(self, estimator: Any, y: Array, task: Task) -> None:
        self._estimator = estimator
        self._y = y
        self._task: Task = task
        self._has_probabilities = task == "classification" and hasattr(estimator, "predict_proba")
        worse_by = "log_loss" if self._has_probabilities else "accuracy"
        self.metric = "rmse" if task == "regression" else worse_by

    def losses(self, matrix: Array, columns: list[int], rng: np.random.Generator) -> Array:
        """Return how much worse the metric is for each shuffle, `(n_repeats,)`."""
        shuffled = np.tile(matrix, (_REPEATS + 1, 1))  # the rows as they are come first
        for block in np.split(shuffled, _REPEATS + 1)[1:]:
            block[:, columns] = block[rng.permutation(len(block))][:, columns]
        scores = self._scores(shuffled)
        worse: Array = scores[1:] - scores[0]
        return worse if self.metric in LOWER_IS_BETTER else -worse

    def _scores(self, matrix: Array) -> Array:
        """Return the metric of the rows as they are, and of each shuffle."""
        if not self._has_probabilities:
            predicted = np.split(self._estimator.predict(matrix), _REPEATS + 1)
            return np.array([self._score(part, None) for part in predicted])
        probabilities = np.split(self._estimator.predict_proba(matrix), _REPEATS + 1)
        classes = self._estimator.classes_
        return np.array([self._score(classes[part.argmax(axis=1)], part) for part in probabilities])

    def _score(self, predicted: Array, probabilities: Array | None) -> float:
        classes = self._estimator.classes_.tolist() if self._has_probabilities else ()
        scores = compute_metrics(self._task, self._y, predicted, probabilities=probabilities, classes=classes)
        return scores[self.metric]


def _groups(transformer: Pipeline) -> dict[str, list[int]]:
    """Return the positions in the matrix of each feature; those of one text column are one."""
    matrix = transformer[-1]
    first_code = len(matrix.numeric_) + len(matrix.boolean)
    texts = sorted(matrix.categorical, key=len, reverse=True)
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(feature_names(transformer)):
        column = next((text for text in texts if name.startswith(text)), name)
        groups.setdefault(column if position >= first_code else name, []).append(position)
    return groups


def _chosen(groups: dict[str, list[int]], importances: Mapping[str, float]) -> dict[str, list[int]]:
    if len(groups) <= _MOST_FEATURES:
        return groups
    order = {name: place for place, name in enumerate(importances)}
    names = sorted(groups, key=lambda name: order.get(name, -1))[:_MOST_FEATURES]
    return {name: groups[name] for name in names}
