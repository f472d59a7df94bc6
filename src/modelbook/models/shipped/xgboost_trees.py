"""XGBoost's trees, kept as the bytes of its own format.

XGBoost's estimators hold a handle into the library. Here the state is the trees in XGBoost's binary JSON,
from which the handle is made again, so that a stored model needs no pickle. This file travels with each model
that uses it: it imports NumPy, scikit-learn and XGBoost alone.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import xgboost
from sklearn.base import clone

Floats = npt.NDArray[np.float64]
HeldOut = tuple[npt.NDArray[Any], npt.NDArray[Any]]


class _Trees:
    """What both tasks have in common."""

    _Booster: Any
    trees_: npt.NDArray[np.uint8]
    categorical_columns: Sequence[int]

    def set_categories(self, columns: Sequence[int]) -> Self:
        """Take columns of the matrix, by their position, as codes of categories."""
        self.categorical_columns = tuple(columns)
        return self

    def get_xgb_params(self) -> dict[str, Any]:
        """Return the settings that XGBoost itself is given."""
        settings: dict[str, Any] = super().get_xgb_params()  # type: ignore[misc] # of XGBoost's
        settings.pop("categorical_columns", None)
        return settings

    def set_iterations(self, count: int) -> Self:
        """Let this many trees be grown."""
        self.n_estimators = count
        return self

    def best_iterations(
        self, X: npt.NDArray[Any], y: npt.NDArray[Any], *, held_out: HeldOut, rounds: int
    ) -> int:
        """Return the number of trees after which held-out rows were predicted best.

        Args:
            X: The matrix, `(n_rows, n_features)`.
            y: The target, `(n_rows,)`.
            held_out: Matrix and target of rows that are not fitted on.
            rounds: Trees without an improvement after which no more are grown.
        """
        probe: Any = clone(self)
        probe.early_stopping_rounds = rounds
        probe._fit(X, y, eval_set=[(held_out[0], self._codes(y, held_out[1]))])  # noqa: SLF001 (a clone of it)
        return int(probe.best_iteration) + 1

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Grow the trees."""
        self._fit(X, y)
        self.trees_ = np.frombuffer(self._Booster.save_raw("ubj"), dtype=np.uint8)
        return self

    def _fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any], **options: Any) -> None:
        kinds = ["c" if at in self.categorical_columns else "q" for at in range(X.shape[1])]
        self.feature_types = kinds if self.categorical_columns else None
        super().fit(X, self._codes(y, y), verbose=False, **options)  # type: ignore[misc] # of XGBoost's

    def _codes(self, known: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        raise NotImplementedError

    def __copy__(self) -> Self:
        # XGBoost copies an estimator whenever it is asked for its parameters.
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_Booster"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "trees_" not in state:
            return
        trees = bytearray(self.trees_.tobytes())
        if not (trees.startswith(b"{") and trees.endswith(b"}")):  # XGBoost ends the process over no bytes
            raise ValueError("the stored trees are none of XGBoost's")
        self._Booster = xgboost.Booster({"nthread": 1}, model_file=trees)


class XGBoostRegressor(_Trees, xgboost.XGBRegressor):  # type: ignore[misc] # XGBoost is untyped
    """XGBoost for numbers.

    Args:
        categorical_columns: Positions of the matrix's columns that hold codes of categories.
        **settings: XGBoost's own.

    Example:
        >>> X = np.arange(20.0).reshape(-1, 1)
        >>> model = XGBoostRegressor(n_estimators=50).fit(X, 3 * X[:, 0])
        >>> model.predict(X[:1]).dtype.name
        'float64'
    """

    def __init__(self, *, categorical_columns: Sequence[int] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.categorical_columns = categorical_columns

    def predict(self, X: npt.NDArray[Any]) -> Floats:
        """Return the predictions, `(n_rows,)`."""
        return np.asarray(super().predict(X), dtype=np.float64)

    def _codes(self, known: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[Any]:  # noqa: ARG002
        return y


class XGBoostClassifier(_Trees, xgboost.XGBClassifier):  # type: ignore[misc] # XGBoost is untyped
    """XGBoost for classes of any kind.

    Args:
        categorical_columns: Positions of the matrix's columns that hold codes of categories.
        **settings: XGBoost's own.

    Example:
        >>> X = np.arange(20.0).reshape(-1, 1)
        >>> XGBoostClassifier(n_estimators=5).fit(X, np.where(X[:, 0] > 9, "yes", "no")).predict(X[:2])
        array(['no', 'no'], dtype='<U3')
    """

    def __init__(self, *, categorical_columns: Sequence[int] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.categorical_columns = categorical_columns

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The classes, sorted; while XGBoost itself is at work, their codes."""
        return self.labels_ if hasattr(self, "labels_") else np.arange(self.n_classes_)

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Grow the trees."""
        self.__dict__.pop("labels_", None)
        super().fit(X, y)
        self.labels_ = np.unique(y)
        return self

    def predict_proba(self, X: npt.NDArray[Any]) -> Floats:
        """Return the probabilities, `(n_rows, n_classes)`."""
        # XGBoost's are float32, whose sums are not quite 1.
        probabilities = np.asarray(super().predict_proba(X), dtype=np.float64)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def predict(self, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the most probable classes, `(n_rows,)`."""
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), axis=1)])

    def _codes(self, known: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.searchsorted(np.unique(known), y)
