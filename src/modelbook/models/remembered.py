"""Features that are made once and remembered, by the rows that they are fitted on and made of.

A search fits many estimators on the same rows. What makes the features is then the same again and again.
"""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from blake3 import blake3
from sklearn.base import clone
from sklearn.pipeline import Pipeline

MOST_BYTES = 1 << 29

Matrix = npt.NDArray[np.float64]


class Shelf:
    """Holds fitted transformers and the matrices that they made, up to a number of bytes.

    Rows are known by the table's index, which must name each row of everything that is held against the
    shelf, and by the target that features are fitted with.

    Args:
        most_bytes: What the matrices may take; beyond it they are made anew each time.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._held: dict[str, Any] = {}
        self._free = most_bytes

    def fitted(self, template: Pipeline, X: pd.DataFrame, y: Any) -> tuple[str, Pipeline, Matrix]:
        """Return a key, the transformer fitted on these rows, and the matrix that fitting it gave."""
        key = _digest(X.index, np.asarray(y))
        transformer: Pipeline = self._held.get(key) or clone(template)
        matrix = self._matrix(f"{key} fit", lambda: transformer.fit_transform(X, y))
        self._held[key] = transformer
        return key, transformer, matrix

    def transformed(self, key: str, transformer: Pipeline, X: pd.DataFrame) -> Matrix:
        """Return the matrix that a fitted transformer makes of these rows."""
        return self._matrix(f"{key} {_digest(X.index)}", lambda: transformer.transform(X))

    def _matrix(self, key: str, make: Callable[[], Matrix]) -> Matrix:
        if key in self._held:
            found: Matrix = self._held[key]
            return found
        matrix = make()
        if matrix.nbytes <= self._free:
            self._free -= matrix.nbytes
            self._held[key] = matrix
        return matrix


class RememberedFeatures(Pipeline):  # type: ignore[misc] # scikit-learn is untyped
    """Stands in for the transformer that makes a model's features, while models are fitted and measured.

    Its clones share the shelf. What is hashed or stored is the pipeline that `with_fitted`
    returns, with the transformer itself.
    """

    def fit_transform(self, X: pd.DataFrame, y: Any = None, **_: Any) -> Matrix:
        """Return the matrix of training rows, fitted on them now or before."""
        matrix: Matrix
        self._key, self._fitted, matrix = self._shelf.fitted(self._template, X, y)
        self.steps = self._fitted.steps
        return matrix

    def fit(self, X: pd.DataFrame, y: Any = None, **_: Any) -> Self:
        """Be fitted on training rows."""
        self.fit_transform(X, y)
        return self

    def transform(self, X: pd.DataFrame, **_: Any) -> Matrix:
        """Return the matrix of rows, `(n_rows, n_features)`."""
        matrix: Matrix = self._shelf.transformed(self._key, self._fitted, X)
        return matrix

    def __sklearn_clone__(self) -> "RememberedFeatures":
        return remember(self._template, self._shelf)


def remember(template: Pipeline, shelf: Shelf) -> RememberedFeatures:
    """Return a transformer that makes what another one does, and makes it once.

    Args:
        template: What makes the features, unfitted.
        shelf: Where they are kept; of these features alone.

    Example:
        >>> from sklearn.preprocessing import MinMaxScaler
        >>> table, shelf = pd.DataFrame({"a": [1.0, 3.0]}), Shelf()
        >>> first, second = (remember(Pipeline([("scale", MinMaxScaler())]), shelf) for _ in range(2))
        >>> first.fit_transform(table, [0, 1]) is second.fit_transform(table, [0, 1])
        True
    """
    made = RememberedFeatures(template.steps)
    made._template, made._shelf = template, shelf  # noqa: SLF001 (set here for scikit-learn asks the constructor)
    return made


def with_fitted(model: Pipeline) -> Pipeline:
    """Return a pipeline with the fitted transformer itself in the place of what stands in for it."""
    name, features = model.steps[0]
    if not isinstance(features, RememberedFeatures):
        return model
    return Pipeline([(name, features._fitted), *model.steps[1:]])  # noqa: SLF001 (of the same module)


def _digest(index: pd.Index, *arrays: npt.NDArray[Any]) -> str:
    content = blake3()
    for array in (index.to_numpy(), *arrays):
        known = array.astype(str) if array.dtype.hasobject else array
        content.update(f"{known.dtype.str}{known.shape}".encode())
        content.update(np.ascontiguousarray(known).view(np.uint8).data)
    return content.hexdigest()
