"""Cross-validation on training rows, with folds made as the split of training and test rows was."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

from modelbook.config import Config
from modelbook.errors import DataInvalidError, UsageError
from modelbook.models.fit import fit_pipeline
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
        DataInvalidError: There are too few rows, groups or rows of a class for the folds.
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
            probabilities = _of_all_classes(raw, model.classes_, np.unique(y))
        scores.append(score(y[test], predicted, probabilities))
    return _summary(scores)


def folds(config: Config, X: pd.DataFrame, y: Array) -> Iterator[tuple[Array, Array]]:
    """Yield the row numbers of training and held-out rows of each fold.

    Classification keeps the classes' shares, unless rows are kept together by group or in the order of time.

    Raises:
        DataInvalidError: There are too few rows, groups or rows of a class for the folds.
        UsageError: The column that the split goes by is not in X.
    """
    count, seed = config.training.cv_folds, config.training.seed
    _need(len(y), count, "rows")
    if config.split.method == "group":
        groups = pd.factorize(_split_column(config, X))[0]
        _need(len(np.unique(groups)), count, f"groups in {config.split.column}")
        yield from GroupKFold(count).split(X, y, groups)
    elif config.split.method == "time":
        _need(len(y), count + 1, "rows")
        order = np.argsort(_split_column(config, X).to_numpy(), kind="stable")
        for train, test in TimeSeriesSplit(count).split(order):
            yield order[train], order[test]
    elif config.project.task == "classification":
        _need(int(np.unique(y, return_counts=True)[1].min()), count, "rows of the rarest class")
        yield from StratifiedKFold(count, shuffle=True, random_state=seed).split(X, y)
    else:
        yield from KFold(count, shuffle=True, random_state=seed).split(X)


def _need(got: int, count: int, what: str) -> None:
    if got < count:
        raise DataInvalidError(
            "there is too little data to cross-validate",
            where="training.cv_folds",
            got=f"{got} {what}",
            expected=f"at least {count}",
            hint="lower training.cv_folds, or set it to 0 to do without",
        )


def _split_column(config: Config, X: pd.DataFrame) -> pd.Series:
    if config.split.column not in X.columns:
        raise UsageError(
            "the column that the split goes by is not in X",
            where="split.column",
            got=str(config.split.column),
            hint="keep it in data.schema and in X; features.left_out keeps it out of the model",
        )
    return X[config.split.column]


def _of_all_classes(probabilities: Array, known: Array, classes: Array) -> Array:
    # A fold by group or time can lack a class: to its model that class is impossible.
    complete = np.zeros((len(probabilities), len(classes)))
    complete[:, np.searchsorted(classes, known)] = probabilities
    return complete


def _summary(scores: list[Mapping[str, float]]) -> dict[str, float]:
    summary = {}
    for name in scores[0]:
        values = np.array([score[name] for score in scores])
        summary[f"cv_{name}_mean"] = float(values.mean())
        summary[f"cv_{name}_std"] = float(values.std())
    return summary
