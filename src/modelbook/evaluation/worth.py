"""What each feature is worth: how much worse held-out rows are predicted once its values are shuffled."""

from collections.abc import Iterator, Mapping
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
# A forest of 300 trees predicts so many rows in half a second: with ten features five times 160.
_PREDICTIONS = 8_000
_FEWEST_ROWS = 100
_MOST_ROWS = 1000
_MOST_FEATURES = 100
_CELLS = 4_000_000  # 32 MB
_END = "\0"


def feature_worth(
    model: Pipeline, X: pd.DataFrame, *, y: Array, task: Task, seed: int, importances: Mapping[str, float]
) -> pd.DataFrame:
    """Return what each feature is worth on held-out rows, the most first.

    Five times, rows are drawn and a feature's values are shuffled among them; its worth is by how much the
    metric gets worse: rmse for regression, log_loss for classes, or accuracy where the estimator gives no
    probabilities. The draws have no row in common where there are enough. The features that one text column
    became are shuffled together. About 8,000 predictions are made, or five times 100 for each feature.

    Args:
        model: A fitted pipeline of features and estimator, whose `n_jobs` are 1.
        X: Raw columns of held-out rows, `(n_rows, n_columns)`.
        y: Their target, `(n_rows,)`.
        task: What the model predicts.
        seed: The seed of rows and shuffles.
        importances: The model's own; where there are over 100 features, the first of them are looked at.

    Returns:
        `feature`, `metric`, `worth` (mean over the draws, in the metric's unit; about 0 or below for
        a feature that helps nothing), `spread` (standard deviation over the draws), `rows` (of a draw) and
        `repeats`.

    Source:
        L. Breiman, "Random Forests", Machine Learning 45 (2001) 5-32, section 10.
    """
    groups = _chosen(_groups(model["features"]), importances)
    rng = np.random.default_rng(seed)
    wanted = min(_MOST_ROWS, _PREDICTIONS // (_REPEATS * max(len(groups), 1)))
    rows = min(len(X), max(_FEWEST_ROWS, wanted))
    drawn = np.resize(rng.permutation(len(X)), _REPEATS * rows)
    with threadpool_limits(1, user_api="blas"):
        matrix = model["features"].transform(X.iloc[drawn])
        judge = _Judge(model["estimator"], y[drawn], task)
        scores = judge.scores([matrix])[0]
        losses = dict(_losses(matrix, groups, judge=judge, rng=rng))
    sign = 1 if judge.metric in LOWER_IS_BETTER else -1
    found = [
        (name, judge.metric, float((sign * (loss - scores)).mean()), float((loss - scores).std(ddof=1)))
        for name, loss in losses.items()
    ]
    table = pd.DataFrame(found, columns=list(WORTH_COLUMNS[:4])).assign(rows=rows, repeats=_REPEATS)
    return table.sort_values("worth", ascending=False, kind="stable", ignore_index=True)


def _losses(
    matrix: Array, groups: dict[str, list[int]], *, judge: "_Judge", rng: np.random.Generator
) -> Iterator[tuple[str, Array]]:
    """Yield each feature with the metric of each draw, its values shuffled."""
    # Many features in one call: a forest takes a call a tree, which a few hundred rows do not pay back.
    at_once = max(1, _CELLS // max(matrix.size, 1))
    waiting = list(groups.items())
    for batch in (waiting[start : start + at_once] for start in range(0, len(waiting), at_once)):
        scores = judge.scores([_shuffled(matrix, columns, rng) for _, columns in batch])
        yield from zip((name for name, _ in batch), scores, strict=True)


def _shuffled(matrix: Array, columns: list[int], rng: np.random.Generator) -> Array:
    """Return a matrix with columns shuffled within each draw."""
    shuffled = matrix.copy()
    for block in np.split(shuffled, _REPEATS):
        block[:, columns] = block[rng.permutation(len(block))][:, columns]
    return shuffled


class _Judge:
    """Says how well an estimator predicts each draw."""

    def __init__(self, estimator: Any, y: Array, task: Task) -> None:
        self._estimator = estimator
        self._targets = np.split(y, _REPEATS)
        self._task: Task = task
        self._has_probabilities = task == "classification" and hasattr(estimator, "predict_proba")
        of_classes = "log_loss" if self._has_probabilities else "accuracy"
        self.metric = "rmse" if task == "regression" else of_classes

    def scores(self, matrices: list[Array]) -> Array:
        """Return the metric of each matrix and draw, `(n_matrices, n_repeats)`."""
        stacked = np.concatenate(matrices)
        parts = len(matrices) * _REPEATS
        if self._has_probabilities:
            probabilities = self._estimator.predict_proba(stacked)
            predicted = self._estimator.classes_[probabilities.argmax(axis=1)]
            chances: list[Array | None] = list(np.split(probabilities, parts))
        else:
            predicted = self._estimator.predict(stacked)
            chances = [None] * parts
        scores = [
            self._score(*part)
            for part in zip(self._targets * len(matrices), np.split(predicted, parts), chances, strict=True)
        ]
        return np.array(scores).reshape(len(matrices), _REPEATS)

    def _score(self, y: Array, predicted: Array, probabilities: Array | None) -> float:
        classes = () if probabilities is None else self._estimator.classes_.tolist()
        scores = compute_metrics(self._task, y, predicted, probabilities=probabilities, classes=classes)
        return scores[self.metric]


def _groups(transformer: Pipeline) -> dict[str, list[int]]:
    """Return the positions in the matrix of each feature; those of one text column are one."""
    matrix = transformer[-1]
    first_code = len(matrix.numeric_) + len(matrix.boolean)
    names = [*feature_names(transformer)[:first_code], *_columns_of_codes(matrix)]
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        groups.setdefault(name, []).append(position)
    return groups


def _columns_of_codes(matrix: Any) -> Iterator[str]:
    """Yield the text column of each feature that the encoder makes, as numbered columns have it name them."""
    if matrix.encoder_ is not None:
        numbered = [f"{place}{_END}" for place in range(len(matrix.categorical))]
        for name in matrix.encoder_.get_feature_names_out(numbered):
            yield matrix.categorical[int(name.partition(_END)[0])]


def _chosen(groups: dict[str, list[int]], importances: Mapping[str, float]) -> dict[str, list[int]]:
    if len(groups) <= _MOST_FEATURES:
        return groups
    order = {name: place for place, name in enumerate(importances)}
    names = sorted(groups, key=lambda name: order.get(name, -1))[:_MOST_FEATURES]
    return {name: groups[name] for name in names}
