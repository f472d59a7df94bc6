"""From a table of fixed columns and types to the matrix that estimators take.

This file travels with each model, so that the model can be loaded without Modelbook: it imports NumPy, pandas
and scikit-learn alone.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder
from sklearn.utils.validation import check_is_fitted

Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]

# Trees hold features as float32; beyond its range scikit-learn refuses the row.
_LARGEST = float(np.finfo(np.float32).max)
_MOST_ONE_HOT = 1000
# scikit-learn's histogram gradient boosting takes no more.
_MOST_NATIVE = 255
_TARGET_FOLDS = 5


class TargetNeededError(ValueError):
    """Target encoding was fitted without a target."""


class CategoryEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """Turns text columns into numbers; a missing value is a category of its own where training rows had one.

    A category that training rows did not have is no column's (one-hot), -1 (ordinal), the target's mean
    (target) or missing (native), as missing values are there. Beyond 1,000 categories, one-hot encoding lets
    the rarest share one column; beyond 255, native encoding lets them share one code.

    Args:
        encode: `one_hot`, `ordinal`, `target`, `native` (codes for estimators that know what they are) or
            `auto`: one-hot up to `max_one_hot` categories, target encoding beyond.
        max_one_hot: The most categories that `auto` encodes one-hot.
        task: `regression` or `classification`, for the target encoding.
        seed: The seed of the target encoding's cross-fitting.
    """

    def __init__(
        self, *, encode: str = "auto", max_one_hot: int = 30, task: str = "regression", seed: int = 0
    ) -> None:
        self.encode = encode
        self.max_one_hot = max_one_hot
        self.task = task
        self.seed = seed

    def fit(self, X: Objects, y: Any = None) -> Self:
        """Learn the categories."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Objects, y: Any = None) -> Floats:
        """Learn the categories and return training rows encoded; target encoding is cross-fitted.

        Args:
            X: Texts, `(n_rows, n_columns)`.
            y: The target, `(n_rows,)`; needed for target encoding.

        Raises:
            TargetNeededError: Target encoding has no target.
        """
        self.n_features_in_ = X.shape[1]
        kinds = [self._kind(X[:, position]) for position in range(X.shape[1])]
        if "target" in kinds and y is None:
            raise TargetNeededError("target encoding needs the target: fit with y")
        self.positions_ = {
            kind: [position for position, other in enumerate(kinds) if other == kind]
            for kind in dict.fromkeys(kinds)
        }
        self.encoders_ = {kind: self._encoder(kind, y) for kind in self.positions_}
        blocks = [self.encoders_[kind].fit_transform(X[:, at], y) for kind, at in self.positions_.items()]
        return np.hstack(blocks)

    def transform(self, X: Objects) -> Floats:
        """Return rows encoded, `(n_rows, n_features)`."""
        check_is_fitted(self)
        return np.hstack([self.encoders_[kind].transform(X[:, at]) for kind, at in self.positions_.items()])

    def get_feature_names_out(self, input_features: Sequence[str]) -> Objects:
        """Return the features' names: `<column>_<category>` one-hot, else the column's own."""
        check_is_fitted(self)
        names = np.array(input_features, dtype=object)
        return np.concatenate(
            [self.encoders_[kind].get_feature_names_out(names[at]) for kind, at in self.positions_.items()]
        )

    def _kind(self, column: Objects) -> str:
        if self.encode != "auto":
            return self.encode
        return "one_hot" if len(set(column)) <= self.max_one_hot else "target"

    def _encoder(self, kind: str, y: Any) -> Any:
        if kind == "one_hot":
            return OneHotEncoder(
                sparse_output=False, handle_unknown="infrequent_if_exist", max_categories=_MOST_ONE_HOT
            )
        if kind == "ordinal":
            return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        if kind == "native":
            return OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=_MOST_NATIVE
            )
        folds = KFold(min(_TARGET_FOLDS, len(y)), shuffle=True, random_state=self.seed)
        return TargetEncoder(target_type=self._target_type(y), cv=folds)

    def _target_type(self, y: Any) -> str:
        if self.task == "regression":
            return "continuous"
        return "binary" if len(np.unique(y)) == 2 else "multiclass"  # noqa: PLR2004 (that is binary)


class FeatureMatrix(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """Turns a table of fixed types into the matrix that estimators take.

    Columns with no other role are numbers, in the order in which they arrive. The work of scikit-learn's
    ColumnTransformer at a third of its time for one row.

    Args:
        boolean: True-or-false columns.
        categorical: Text columns.
        imputer: Fills gaps of number columns; None leaves them.
        boolean_imputer: Fills gaps of true-or-false columns; None leaves them.
        scaler: Scales number columns; None does not.
        encoder: Turns text columns into numbers.
    """

    def __init__(
        self,
        *,
        boolean: Sequence[str] = (),
        categorical: Sequence[str] = (),
        imputer: SimpleImputer | None = None,
        boolean_imputer: SimpleImputer | None = None,
        scaler: Any = None,
        encoder: CategoryEncoder | None = None,
    ) -> None:
        self.boolean = boolean
        self.categorical = categorical
        self.imputer = imputer
        self.boolean_imputer = boolean_imputer
        self.scaler = scaler
        self.encoder = encoder

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Fit what fills, scales and encodes."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: pd.DataFrame, y: Any = None) -> Floats:
        """Fit what fills, scales and encodes, and return the matrix of training rows."""
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.n_features_in_ = len(X.columns)
        self.numeric_ = [name for name in X.columns if name not in {*self.boolean, *self.categorical}]
        numbers, truths, texts = self._blocks(X)
        self.imputer_, numbers = _fit_step(self.imputer, numbers)
        self.scaler_, numbers = _fit_step(self.scaler, numbers)
        self.boolean_imputer_, truths = _fit_step(self.boolean_imputer, truths)
        self.encoder_, codes = _fit_step(self.encoder, texts, y)
        return _matrix(numbers, truths, codes)

    def transform(self, X: pd.DataFrame) -> Floats:
        """Return the matrix, `(n_rows, n_features)`."""
        check_is_fitted(self)
        numbers, truths, texts = self._blocks(X)
        numbers = _apply_step(self.scaler_, _apply_step(self.imputer_, numbers))
        truths = _apply_step(self.boolean_imputer_, truths)
        return _matrix(numbers, truths, _apply_step(self.encoder_, texts))

    def get_feature_names_out(self, input_features: Any = None) -> Objects:  # noqa: ARG002
        """Return the features' names, each once: a second one of a name is marked `__2`."""
        check_is_fitted(self)
        codes = [] if self.encoder_ is None else self.encoder_.get_feature_names_out(self.categorical)
        return np.array(_unique([*self.numeric_, *self.boolean, *codes]), dtype=object)

    def category_columns(self) -> list[int]:
        """Return the positions of the columns that hold codes of categories, for estimators to be told."""
        check_is_fitted(self)
        if self.encoder_ is None or self.encoder_.encode != "native":
            return []
        first = len(self.numeric_) + len(self.boolean)
        return list(range(first, first + len(self.categorical)))

    def _blocks(self, table: pd.DataFrame) -> tuple[Floats, Floats, Objects]:
        return (
            _stacked(table, self.numeric_, np.float64),
            _stacked(table, self.boolean, np.float64),
            _stacked(table, self.categorical, np.object_),
        )


def _stacked(table: pd.DataFrame, names: Sequence[str], dtype: type) -> npt.NDArray[Any]:
    # Column by column: selecting a list of columns costs a millisecond, which one row does not pay back.
    stacked: npt.NDArray[Any] = np.empty((len(table), len(names)), dtype=dtype)
    for at, name in enumerate(names):
        stacked[:, at] = table[name].to_numpy()
    return stacked


def _fit_step(step: Any, values: npt.NDArray[Any], y: Any = None) -> tuple[Any, npt.NDArray[Any]]:
    if step is None or not values.shape[1]:
        return None, values
    fitted = clone(step)
    return fitted, fitted.fit_transform(values, y)


def _apply_step(step: Any, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values if step is None else step.transform(values)


def _matrix(*blocks: npt.NDArray[Any]) -> Floats:
    matrix = np.hstack([block.astype(np.float64, copy=False) for block in blocks])
    np.clip(matrix, -_LARGEST, _LARGEST, out=matrix)
    return matrix


def _unique(names: Sequence[str]) -> list[str]:
    taken: dict[str, None] = {}
    for name in names:
        candidate, count = name, 1
        while candidate in taken:
            count += 1
            candidate = f"{name}__{count}"
        taken[candidate] = None
    return list(taken)
