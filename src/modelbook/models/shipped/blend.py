"""Several estimators that answer together: the weighted mean of what each says.

This file travels with each model that uses it: it imports NumPy and scikit-learn, with its threadpoolctl.

Source: L. Breiman, "Stacked Regressions", Machine Learning 24 (1996) 49-64.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float64]


class _Blend(BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """What both tasks have in common.

    Args:
        members: Names and unfitted estimators.
        weights: The weight of each, none below zero, with a sum of 1; a member of weight 0 is not fitted.
        n_jobs: Members fitted side by side.
    """

    def __init__(
        self, members: Sequence[tuple[str, Any]] = (), weights: Sequence[float] = (), n_jobs: int = 1
    ) -> None:
        self.members = members
        self.weights = weights
        self.n_jobs = n_jobs

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Fit each member that has a weight."""
        self.n_features_in_ = X.shape[1]
        chosen = [(member, weight) for (_, member), weight in zip(self.members, self.weights, strict=True)]
        wanted = [clone(member) for member, weight in chosen if weight]
        share = max(1, self.n_jobs // len(chosen))
        # OpenMP's limit is a thread's own, that of BLAS is everybody's, and is put back.
        with (
            threadpool_limits(share),
            ThreadPoolExecutor(self.n_jobs, initializer=threadpool_limits, initargs=(share,)) as pool,
        ):
            self.fitted_ = list(pool.map(lambda member: member.fit(X, y), wanted))
        self.fitted_weights_ = np.array([weight for _, weight in chosen if weight], dtype=np.float64)
        return self

    def _mean(self, X: npt.NDArray[Any], method: str) -> Floats:
        # One after the other: NumPy's own sum over members depends on the number of rows.
        total: Any = 0.0
        for member, weight in zip(self.fitted_, self.fitted_weights_, strict=True):
            total = total + weight * getattr(member, method)(X)
        return np.asarray(total, dtype=np.float64)


class BlendRegressor(RegressorMixin, _Blend):  # type: ignore[misc] # scikit-learn is untyped
    """The weighted mean of predictions.

    Example:
        >>> from sklearn.dummy import DummyRegressor
        >>> members = [("low", DummyRegressor()), ("high", DummyRegressor(strategy="constant", constant=9))]
        >>> X = np.zeros((2, 1))
        >>> BlendRegressor(members, [0.25, 0.75]).fit(X, np.array([0.0, 2.0])).predict(X)
        array([7., 7.])
    """

    def predict(self, X: npt.NDArray[Any]) -> Floats:
        """Return the predictions, `(n_rows,)`."""
        return self._mean(X, "predict")


class BlendClassifier(ClassifierMixin, _Blend):  # type: ignore[misc] # scikit-learn is untyped
    """The weighted mean of probabilities.

    Example:
        >>> from sklearn.dummy import DummyClassifier
        >>> X, y = np.zeros((3, 1)), np.array(["no", "yes", "yes"])
        >>> blend = BlendClassifier([("prior", DummyClassifier(strategy="prior"))], [1.0]).fit(X, y)
        >>> blend.predict(X[:1])
        array(['yes'], dtype='<U3')
    """

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Fit each member that has a weight."""
        self.classes_ = np.unique(y)
        super().fit(X, y)
        return self

    def predict_proba(self, X: npt.NDArray[Any]) -> Floats:
        """Return the probabilities, `(n_rows, n_classes)`."""
        return self._mean(X, "predict_proba")

    def predict(self, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the most probable classes, `(n_rows,)`."""
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), axis=1)])
