"""LightGBM's trees, told by a setting which columns are categories.

LightGBM takes that as an argument of `fit`, which neither a blend nor cross-validation passes on. This file
travels with each model that uses it: it imports NumPy, scikit-learn and LightGBM alone.
"""

from collections.abc import Sequence
from typing import Any, Self

import lightgbm
import numpy as np
import numpy.typing as npt
from sklearn.base import clone

HeldOut = tuple[npt.NDArray[Any], npt.NDArray[Any]]


class _Trees:
    """What both tasks have in common."""

    categorical_columns: Sequence[int]
    class_weight: Any

    def set_categories(self, columns: Sequence[int]) -> Self:
        """Take columns of the matrix, by their position, as codes of categories."""
        self.categorical_columns = tuple(columns)
        return self

    def _process_params(self, stage: str) -> dict[str, Any]:
        settings: dict[str, Any] = super()._process_params(stage)  # type: ignore[misc] # of LightGBM's
        settings.pop("categorical_columns", None)  # LightGBM does not know it, and would say so
        return settings

    def set_iterations(self, count: int) -> Self:
        """Let this many rounds of trees be grown."""
        self.n_estimators = count
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
        stop = lightgbm.early_stopping(rounds, verbose=False)
        probe: Any = clone(self)
        if isinstance(self.class_weight, dict):
            codes = {label: code for code, label in enumerate(np.unique(y).tolist())}
            weights = {codes[label]: weight for label, weight in self.class_weight.items() if label in codes}
            probe.set_params(class_weight=weights)
        watched = {"eval_X": held_out[0], "eval_y": self._codes(y, held_out[1])}
        probe.fit(X, self._codes(y, y), callbacks=[stop], **watched)
        return int(probe.best_iteration_)

    def _codes(self, known: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the target as LightGBM takes it beside held-out rows: classes as their numbers."""
        return np.searchsorted(np.unique(known), y) if hasattr(self, "predict_proba") else y

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any], **options: Any) -> Self:
        """Grow the trees."""
        columns = list(self.categorical_columns) or "auto"
        super().fit(X, y, categorical_feature=columns, **options)  # type: ignore[misc] # of LightGBM's
        return self


class LightGBMRegressor(_Trees, lightgbm.LGBMRegressor):  # type: ignore[misc] # LightGBM is untyped
    """LightGBM for numbers.

    Args:
        categorical_columns: Positions of the matrix's columns that hold codes of categories.
        **settings: LightGBM's own.

    Example:
        >>> X = np.arange(100.0).reshape(-1, 1)
        >>> LightGBMRegressor(n_estimators=50, verbosity=-1).fit(X, 3 * X[:, 0]).predict(X[:1]).shape
        (1,)
    """

    def __init__(self, *, categorical_columns: Sequence[int] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.categorical_columns = categorical_columns


class LightGBMClassifier(_Trees, lightgbm.LGBMClassifier):  # type: ignore[misc] # LightGBM is untyped
    """LightGBM for classes.

    Args:
        categorical_columns: Positions of the matrix's columns that hold codes of categories.
        **settings: LightGBM's own.

    Example:
        >>> X = np.arange(100.0).reshape(-1, 1)
        >>> y = np.where(X[:, 0] > 9, "yes", "no")
        >>> model = LightGBMClassifier(n_estimators=9, verbosity=-1).fit(X, y)
        >>> model.predict(X[-1:]).tolist()
        ['yes']
    """

    def __init__(self, *, categorical_columns: Sequence[int] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.categorical_columns = categorical_columns
