"""Linear models whose prediction for a row does not depend on the rows beside it.

scikit-learn multiplies all rows with the coefficients at once, and the BLAS library sums one row in another
order than the same row among many: the last digits differ. Here each row is summed by itself. This file
travels with each model that uses it: it imports NumPy and scikit-learn alone.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.validation import check_is_fitted, validate_data

Floats = npt.NDArray[np.float64]


class RowwiseRidge(Ridge):  # type: ignore[misc] # scikit-learn is untyped
    """Ridge regression, scikit-learn's own but for the order of summation at prediction.

    Example:
        >>> model = RowwiseRidge(alpha=1e-9).fit(np.array([[0.0], [1.0]]), np.array([1.0, 3.0]))
        >>> model.predict(np.array([[2.0]])).round(3).tolist()
        [5.0]
    """

    def predict(self, X: Any) -> Floats:
        """Return the predictions, `(n_rows,)`."""
        return np.asarray(_row_sums(self, X, self.coef_) + self.intercept_, dtype=np.float64)


class RowwiseLogisticRegression(LogisticRegression):  # type: ignore[misc] # scikit-learn is untyped
    """Logistic regression, scikit-learn's own but for the order of summation at prediction.

    Example:
        >>> model = RowwiseLogisticRegression().fit(np.array([[0.0], [1.0]]), ["no", "yes"])
        >>> model.predict(np.array([[2.0]])).tolist()
        ['yes']
    """

    def decision_function(self, X: Any) -> Floats:
        """Return the scores, `(n_rows,)` for two classes, else `(n_rows, n_classes)`."""
        scores = [_row_sums(self, X, row) for row in self.coef_] + self.intercept_[:, np.newaxis]
        return np.ascontiguousarray(scores[0] if len(scores) == 1 else scores.T, dtype=np.float64)


def _row_sums(model: Any, X: Any, coefficients: Floats) -> Floats:
    check_is_fitted(model)
    matrix = validate_data(model, X, reset=False, order="C")
    sums: Floats = (matrix * coefficients).sum(axis=1)
    return sums
