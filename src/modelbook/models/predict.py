"""Predictions that are the same to the last digit, whatever the number of threads."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController

# Each chunk costs a forest a call a tree. 16,512 rows and 300 trees: 0.9 s by one thread, by two 0.5 s in
# chunks of 4,096 rows and 0.4 s in chunks of 8,192.
_CHUNK_ROWS = 8192
# Their `predict` is `predict_proba` and its most probable class: asked for both, they are asked once.
_MOST_PROBABLE = {
    "BlendClassifier.predict",
    "CatBoostClassifier.predict",
    "ForestClassifier.predict",
    "LGBMClassifier.predict",
    "NetworkClassifier.predict",
    "XGBoostClassifier.predict",
}


def in_chunks(
    method: Callable[[pd.DataFrame], npt.NDArray[Any]], X: pd.DataFrame, *, threads: int = 1
) -> npt.NDArray[Any]:
    """Return what a method of a fitted model makes of a table, computed in chunks of 8,192 rows.

    Each chunk is computed by one thread and where chunks begin depends on the rows alone, so the number of
    threads does not show in the result.

    Args:
        method: `predict`, `predict_proba` or `transform` of a fitted model whose `n_jobs` are 1.
        X: Raw columns, `(n_rows, n_columns)`.
        threads: Chunks computed at once.

    Returns:
        The results, one a row, in the order of the rows.

    Example:
        >>> in_chunks(lambda table: table["a"].to_numpy() * 2, pd.DataFrame({"a": [1, 2]}))
        array([2, 4])
    """
    starts = range(0, max(len(X), 1), _CHUNK_ROWS)
    chunks = [X.iloc[start : start + _CHUNK_ROWS] for start in starts]
    with _single_threaded_blas(), ThreadPoolExecutor(min(threads, len(chunks))) as pool:
        return np.concatenate(list(pool.map(method, chunks)))


def predict_rows(model: Any, X: pd.DataFrame) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64] | None]:
    """Return the predictions and, where the model has them, the probabilities of each row.

    They are what `in_chunks` makes of `predict` and `predict_proba`, with the features of each row made once.

    Args:
        model: A fitted pipeline whose `n_jobs` are 1.
        X: Raw columns, `(n_rows, n_columns)`, with at least one row.

    Returns:
        The predictions, `(n_rows,)`, and None or the probabilities, `(n_rows, n_classes)`.
    """
    starts = range(0, len(X), _CHUNK_ROWS)
    with _single_threaded_blas():
        chunks = [_predict_chunk(model, X.iloc[start : start + _CHUNK_ROWS]) for start in starts]
    predictions, probabilities = zip(*chunks, strict=True)
    has_probabilities = probabilities[0] is not None
    return np.concatenate(predictions), np.concatenate(probabilities) if has_probabilities else None


def _single_threaded_blas() -> AbstractContextManager[Any]:
    """Let matrices be multiplied by one thread: with another number BLAS sums in another order."""
    libraries = _libraries(len(sys.modules))
    return cast("AbstractContextManager[Any]", libraries.limit(limits=1, user_api="blas"))


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:  # noqa: ARG001 (libraries come with modules: then it looks again)
    """Return the libraries that have threads: looking for them takes longer than a small model for a row."""
    return ThreadpoolController()


def _predict_chunk(model: Any, X: pd.DataFrame) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64] | None]:
    estimator = model[-1] if isinstance(model, Pipeline) else model
    matrix = model[:-1].transform(X) if isinstance(model, Pipeline) and len(model) > 1 else X
    if not hasattr(estimator, "predict_proba"):
        return estimator.predict(matrix), None
    probabilities = estimator.predict_proba(matrix)
    if type(estimator).predict.__qualname__ in _MOST_PROBABLE:
        return estimator.classes_[np.argmax(probabilities, axis=1)], probabilities
    return estimator.predict(matrix), probabilities
