"""CatBoost's trees, kept as the bytes of its own format.

What CatBoost stores of a model holds a random id, the time and the number of threads beside the trees. Here
the state is the trees alone, so that two fits that came out the same are the same, and a stored model needs
no pickle. This file travels with each model that uses it: it imports NumPy, scikit-learn and CatBoost alone.
"""

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import catboost
import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

Floats = npt.NDArray[np.float64]
HeldOut = tuple[npt.NDArray[Any], npt.NDArray[Any]]

# Nothing printed and nothing written while it fits.
_QUIET = {"logging_level": "Silent", "allow_writing_files": False}
# Losses whose trees sum up to a logarithm, and losses that predict several numbers a row.
_LOGARITHMIC = ("Poisson", "Tweedie", "LogLinQuantile")
_OF_SEVERAL = ("RMSEWithUncertainty", "MultiQuantile")


class _Trees(BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """What both tasks have in common.

    Args:
        n_estimators: The number of trees.
        learning_rate: The weight of each tree; None lets CatBoost choose.
        depth: The depth of each tree.
        random_state: The seed.
        n_jobs: Threads to fit with; prediction takes one.
        categorical_columns: Positions of the matrix's columns that hold codes of categories.
        **settings: CatBoost's own.
    """

    def __init__(
        self,
        *,
        n_estimators: int = 1000,
        learning_rate: float | None = None,
        depth: int = 6,
        random_state: int | None = None,
        n_jobs: int | None = None,
        categorical_columns: Sequence[int] = (),
        **settings: Any,
    ) -> None:
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.depth = depth
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.categorical_columns = categorical_columns
        self.settings = settings

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002 (scikit-learn's)
        """Return every setting, CatBoost's own included."""
        return {**super().get_params(deep), **self.settings}

    def set_params(self, **params: Any) -> Self:
        """Change settings; names that are not of the constructor are CatBoost's own."""
        named = self._get_param_names()
        for name, value in params.items():
            if name in named:
                setattr(self, name, value)
            else:
                self.settings = {**self.settings, name: value}
        return self

    def set_categories(self, columns: Sequence[int]) -> Self:
        """Take columns of the matrix, by their position, as codes of categories."""
        self.categorical_columns = tuple(columns)
        return self

    def set_iterations(self, count: int) -> Self:
        """Let this many trees be grown."""
        self.n_estimators = count
        return self

    def best_iterations(
        self, X: npt.NDArray[Any], y: npt.NDArray[Any], *, held_out: HeldOut, rounds: int
    ) -> int:
        """Return the number of trees after which held-out rows were predicted best.

        A rate of learning that CatBoost chose is kept: it would choose another for that number of trees.

        Args:
            X: The matrix, `(n_rows, n_features)`.
            y: The target, `(n_rows,)`.
            held_out: Matrix and target of rows that are not fitted on.
            rounds: Trees without an improvement after which no more are grown.
        """
        known = np.unique(y)
        watched = catboost.Pool(self._data(held_out[0]), self._codes(known, held_out[1]))
        model = self._unfitted(known)
        pool = catboost.Pool(self._data(X), self._codes(known, y))
        model.fit(pool, eval_set=watched, early_stopping_rounds=rounds)
        if self.learning_rate is None:
            self.learning_rate = float(model.get_all_params()["learning_rate"])
        return int(model.get_best_iteration()) + 1

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Grow the trees."""
        matrix = validate_data(self, X, dtype=np.float64, ensure_all_finite=False)
        known = np.unique(y)
        model = self._unfitted(known)
        model.fit(catboost.Pool(self._data(matrix), self._codes(known, y)))
        importances = np.empty(matrix.shape[1])
        importances[self._order(matrix)] = model.get_feature_importance()
        self.feature_importances_ = importances
        self._load(_trees_alone(model))
        return self

    def _unfitted(self, known: npt.NDArray[Any]) -> Any:
        settings = {
            "loss_function": self._loss(known),
            "iterations": self.n_estimators,
            "learning_rate": self.learning_rate,
            "depth": self.depth,
            "random_seed": self.random_state,
            "thread_count": self.n_jobs,
            **self.settings,
            **_QUIET,
        }
        return catboost.CatBoost({name: value for name, value in settings.items() if value is not None})

    def _loss(self, known: npt.NDArray[Any]) -> str:
        raise NotImplementedError

    def _codes(self, known: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        raise NotImplementedError

    def _order(self, matrix: npt.NDArray[Any]) -> list[int]:
        """Return the columns' positions as CatBoost is given them: numbers first."""
        numbers = [at for at in range(matrix.shape[1]) if at not in self.categorical_columns]
        return [*numbers, *self.categorical_columns]

    def _data(self, matrix: npt.NDArray[Any]) -> Any:
        """Return the columns as CatBoost takes them: numbers as float32, codes as text, a gap being -1."""
        codes = list(self.categorical_columns)
        numbers = self._order(matrix)[: matrix.shape[1] - len(codes)]
        texts = np.nan_to_num(matrix[:, codes], nan=-1.0).astype(np.int64).astype(bytes).astype(object)
        return catboost.FeaturesData(
            num_feature_data=np.ascontiguousarray(matrix[:, numbers], dtype=np.float32) if numbers else None,
            cat_feature_data=texts if codes else None,
        )

    def _computed(self, X: npt.NDArray[Any], kind: str) -> Floats:
        check_is_fitted(self)
        matrix = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite=False)
        computed = self._model.predict(self._data(matrix), prediction_type=kind, thread_count=1)
        return np.asarray(computed, dtype=np.float64)

    def _load(self, trees: npt.NDArray[np.uint8]) -> None:
        self.trees_ = trees
        self._model = catboost.CatBoost()
        try:
            self._model.load_model(blob=trees.tobytes())
        except catboost.CatBoostError as error:
            raise ValueError("the stored trees are none of CatBoost's") from error

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "trees_" in state:
            self._load(self.trees_)


class CatBoostRegressor(RegressorMixin, _Trees):  # type: ignore[misc] # scikit-learn is untyped
    """CatBoost for numbers.

    Example:
        >>> X = np.arange(20.0).reshape(-1, 1)
        >>> CatBoostRegressor(n_estimators=5).fit(X, 3 * X[:, 0]).predict(X[:1]).shape
        (1,)
    """

    # What has this is asked by `_validate_params` whether its settings go, before anything is fitted.
    _parameter_constraints: ClassVar[dict[str, Any]] = {}

    def predict(self, X: npt.NDArray[Any]) -> Floats:
        """Return the predictions, `(n_rows,)`, in the target's unit whatever the loss."""
        is_logarithmic = self._chosen_loss.startswith(_LOGARITHMIC)
        return self._computed(X, "Exponent" if is_logarithmic else "RawFormulaVal")

    @property
    def _chosen_loss(self) -> str:
        return str(self.settings.get("loss_function"))

    def _validate_params(self) -> None:
        if self._chosen_loss.startswith(_OF_SEVERAL):
            raise ValueError(
                "The 'loss_function' parameter of CatBoostRegressor must predict one number a row. "
                f"Got {self._chosen_loss!r} instead."
            )

    def _loss(self, known: npt.NDArray[Any]) -> str:  # noqa: ARG002 (classes have more than one)
        return "RMSE"

    def _codes(self, known: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[Any]:  # noqa: ARG002
        return y


class CatBoostClassifier(ClassifierMixin, _Trees):  # type: ignore[misc] # scikit-learn is untyped
    """CatBoost for classes of any kind.

    Example:
        >>> X = np.arange(20.0).reshape(-1, 1)
        >>> CatBoostClassifier(n_estimators=9).fit(X, np.where(X[:, 0] > 9, "yes", "no")).predict(X[:2])
        array(['no', 'no'], dtype='<U3')
    """

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Grow the trees."""
        self.classes_ = np.unique(y)
        super().fit(X, y)
        return self

    def predict_proba(self, X: npt.NDArray[Any]) -> Floats:
        """Return the probabilities, `(n_rows, n_classes)`."""
        return self._computed(X, "Probability")

    def predict(self, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the most probable classes, `(n_rows,)`."""
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), axis=1)])

    def _loss(self, known: npt.NDArray[Any]) -> str:
        return "Logloss" if len(known) == 2 else "MultiClass"  # noqa: PLR2004 (that is binary)

    def _codes(self, known: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.searchsorted(known, y)


def _trees_alone(model: Any) -> npt.NDArray[np.uint8]:
    """Return a model's bytes without what says when, where and by how many threads it was made.

    How probabilities are made of the trees' sums is read from the loss function, so that is left in.
    """
    said = model.get_metadata()
    loss = json.loads(said["params"])["loss_function"]
    for name in list(said.keys()):
        del said[name]
    said["params"] = json.dumps({"loss_function": loss})
    return np.frombuffer(model._serialize_model(), dtype=np.uint8)  # noqa: SLF001 (no other way without a file)
