"""A small neural network whose prediction for a row does not depend on the rows beside it.

scikit-learn's own, but for three things: the target is standardised inside, so that learning rates mean the
same for every unit of it; each row is summed by itself, since the BLAS library sums one row in another order
than the same row among many; and what only further fitting needs is dropped. This file travels with each
model that uses it: it imports NumPy, SciPy and scikit-learn alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted, validate_data

Floats = npt.NDArray[np.float64]
HeldOut = tuple[npt.NDArray[Any], npt.NDArray[Any]]

# Products held in memory at once.
_BLOCK = 2**18
_ONLY_FITTING = ("_optimizer", "_random_state")
_HIDDEN: Mapping[str, Callable[[Floats], Floats]] = {
    "identity": lambda values: values,
    "logistic": expit,
    "relu": lambda values: np.maximum(values, 0.0),
    "tanh": np.tanh,
}


class _Network:
    """What both tasks have in common."""

    coefs_: list[Floats]
    intercepts_: list[Floats]
    activation: str
    max_iter: int
    solver: str
    random_state: int | None

    def set_iterations(self, count: int) -> Self:
        """Let all rows pass this many times, with nothing that stops sooner."""
        self.max_iter = self.n_iter_no_change = count
        self.early_stopping = False
        return self

    def best_iterations(
        self, X: npt.NDArray[Any], y: npt.NDArray[Any], *, held_out: HeldOut, rounds: int
    ) -> int:
        """Return the number of passes after which held-out rows were predicted best; all for `solver: lbfgs`.

        L-BFGS minimises the loss of all rows at once, and cannot be stopped and looked at after a pass.

        Args:
            X: The matrix, `(n_rows, n_features)`.
            y: The target, `(n_rows,)`.
            held_out: Matrix and target of rows that are not fitted on.
            rounds: Passes without an improvement after which it stops.
        """
        if self.solver == "lbfgs":
            return self.max_iter
        losses: list[float] = []
        for loss in self._losses(X, y, held_out=held_out):
            losses.append(loss)
            if len(losses) - 1 - int(np.argmin(losses)) >= rounds:
                break
        return int(np.argmin(losses)) + 1

    def _losses(self, X: npt.NDArray[Any], y: npt.NDArray[Any], *, held_out: HeldOut) -> Iterator[float]:
        """Yield the loss on held-out rows after each pass."""
        raise NotImplementedError

    def _fit_network(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
        super().fit(X, y)  # type: ignore[misc] # of scikit-learn's
        for name in _ONLY_FITTING:
            vars(self).pop(name, None)

    def _outputs(self, X: npt.NDArray[Any]) -> Floats:
        """Return the last layer's sums, `(n_rows, n_outputs)`."""
        check_is_fitted(self)
        values: Floats = validate_data(self, X, reset=False, dtype=np.float64, order="C")
        layers = list(zip(self.coefs_, self.intercepts_, strict=True))
        for coefficients, intercepts in layers[:-1]:
            values = _HIDDEN[self.activation](_row_products(values, coefficients) + intercepts)
        coefficients, intercepts = layers[-1]
        return _row_products(values, coefficients) + intercepts


class NetworkRegressor(_Network, MLPRegressor):  # type: ignore[misc] # scikit-learn is untyped
    """A neural network for numbers, on a target that is standardised inside.

    Example:
        >>> X = np.linspace(0, 1, 50).reshape(-1, 1)
        >>> network = NetworkRegressor(hidden_layer_sizes=(8,), random_state=0, tol=1.0)
        >>> network.fit(X, 1e6 * X[:, 0]).predict(X[:1]).shape
        (1,)
    """

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Fit the network on the target in units of its spread."""
        self.target_mean_ = float(np.mean(y))
        self.target_scale_ = float(np.std(y)) or 1.0
        self._fit_network(X, (y - self.target_mean_) / self.target_scale_)
        return self

    def predict(self, X: npt.NDArray[Any]) -> Floats:
        """Return the predictions, `(n_rows,)`."""
        return self._outputs(X)[:, 0] * self.target_scale_ + self.target_mean_

    def _losses(self, X: npt.NDArray[Any], y: npt.NDArray[Any], *, held_out: HeldOut) -> Iterator[float]:
        probe = _probe(self, MLPRegressor)
        mean, scale = np.mean(y), np.std(y) or 1.0
        for _ in range(self.max_iter):
            probe.partial_fit(X, (y - mean) / scale)
            errors = probe.predict(held_out[0]) - (held_out[1] - mean) / scale
            yield float(np.mean(errors**2))


class NetworkClassifier(_Network, MLPClassifier):  # type: ignore[misc] # scikit-learn is untyped
    """A neural network for classes.

    Example:
        >>> X = np.linspace(0, 1, 50).reshape(-1, 1)
        >>> y = np.where(X[:, 0] > 0.5, "yes", "no")
        >>> network = NetworkClassifier(hidden_layer_sizes=(8,), random_state=0, tol=1.0)
        >>> network.fit(X, y).predict_proba(X[:1]).shape
        (1, 2)
    """

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Fit the network."""
        self._fit_network(X, y)
        return self

    def predict_proba(self, X: npt.NDArray[Any]) -> Floats:
        """Return the probabilities, `(n_rows, n_classes)`."""
        outputs = self._outputs(X)
        if self.out_activation_ == "softmax":
            return np.asarray(softmax(outputs, axis=1), dtype=np.float64)
        positive = expit(outputs[:, 0])
        return np.column_stack([1.0 - positive, positive])

    def predict(self, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the most probable classes, `(n_rows,)`."""
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), axis=1)])

    def _losses(self, X: npt.NDArray[Any], y: npt.NDArray[Any], *, held_out: HeldOut) -> Iterator[float]:
        probe, classes = _probe(self, MLPClassifier), np.unique(y)
        at = np.searchsorted(classes, held_out[1])
        for _ in range(self.max_iter):
            probe.partial_fit(X, y, classes=classes)
            chosen = probe.predict_proba(held_out[0])[np.arange(len(at)), at]
            yield float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


def _probe(network: Any, kind: type) -> Any:
    """Return an unfitted network of scikit-learn's own, with one stream of random numbers for all passes."""
    settings = clone(network).get_params()
    settings |= {"random_state": np.random.RandomState(network.random_state), "early_stopping": False}
    return kind(**settings)


def _row_products(rows: Floats, coefficients: Floats) -> Floats:
    """Return `rows @ coefficients` with each row summed by itself, in one order."""
    weights = np.ascontiguousarray(coefficients.T)
    step = max(1, _BLOCK // weights.size)
    blocks: Iterable[Floats] = (
        (rows[first : first + step, np.newaxis, :] * weights).sum(axis=2)
        for first in range(0, len(rows), step)
    )
    return np.concatenate(list(blocks)) if len(rows) else np.empty((0, len(weights)))
