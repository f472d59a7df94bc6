"""scikit-learn's histogram gradient boosting, with categories that travel.

Given categorical columns, scikit-learn keeps a function among the fitted state, and a stored model must not
say which function is called. Here plain state takes its place. This file travels with each model that uses
it: it imports NumPy and scikit-learn alone.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

HeldOut = tuple[npt.NDArray[Any], npt.NDArray[Any]]


class CodesFirst(BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """Puts codes of categories before numbers, as scikit-learn's own step in that place does.

    Args:
        encoder: A fitted encoder of the categorical columns.
        is_categorical: Which columns those are, `(n_features,)`.
    """

    def __init__(self, encoder: Any, is_categorical: npt.NDArray[np.bool_]) -> None:
        self.encoder = encoder
        self.is_categorical = is_categorical

    def transform(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the matrix with codes first; a code that was not seen in the fit is missing."""
        matrix = np.asarray(X, dtype=np.float64)
        codes = self.encoder.transform(matrix[:, self.is_categorical])
        return np.hstack([codes, matrix[:, ~self.is_categorical]])


class _Trees:
    """What both tasks have in common."""

    _preprocessor: Any
    is_categorical_: npt.NDArray[np.bool_]

    def set_categories(self, columns: Sequence[int]) -> Self:
        """Take columns of the matrix, by their position, as codes of categories."""
        self.categorical_features = list(columns) or None
        return self

    def set_iterations(self, count: int) -> Self:
        """Let this many rounds of trees be grown, with no split of scikit-learn's own to stop sooner."""
        self.max_iter, self.early_stopping = count, False
        return self

    def best_iterations(
        self, X: npt.NDArray[Any], y: npt.NDArray[Any], *, held_out: HeldOut, rounds: int
    ) -> int:
        """Return the number of rounds after which held-out rows were predicted best.

        Args:
            X: The matrix, `(n_rows, n_features)`.
            y: The target, `(n_rows,)`.
            held_out: Matrix and target of rows that are not fitted on.
            rounds: Rounds without an improvement after which it stops.
        """
        probe: Any = clone(self).set_params(early_stopping=True, n_iter_no_change=rounds)
        probe.fit(X, y, X_val=held_out[0], y_val=held_out[1])
        return max(1, int(np.argmax(probe.validation_score_)))

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any], **options: Any) -> Self:
        """Grow the trees."""
        super().fit(X, y, **options)  # type: ignore[misc] # of scikit-learn's
        if self._preprocessor is not None:
            encoder = self._preprocessor.named_transformers_["encoder"]
            self._preprocessor = CodesFirst(encoder, self.is_categorical_)
        return self


class HistogramRegressor(_Trees, HistGradientBoostingRegressor):  # type: ignore[misc] # untyped
    """scikit-learn's histogram gradient boosting for numbers.

    Example:
        >>> X = np.arange(100.0).reshape(-1, 1)
        >>> HistogramRegressor(max_iter=9).fit(X, 3 * X[:, 0]).predict(X[:1]).shape
        (1,)
    """


class HistogramClassifier(_Trees, HistGradientBoostingClassifier):  # type: ignore[misc] # untyped
    """scikit-learn's histogram gradient boosting for classes.

    Example:
        >>> X = np.arange(100.0).reshape(-1, 1)
        >>> model = HistogramClassifier(max_iter=9).fit(X, np.where(X[:, 0] > 9, "yes", "no"))
        >>> model.predict(X[-1:]).tolist()
        ['yes']
    """
