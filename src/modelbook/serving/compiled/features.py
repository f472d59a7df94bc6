"""Rows to the matrix that an estimator takes."""

import numpy as np
import numpy.typing as npt

from modelbook.serving.answers import Rows
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.columns import Columns
from modelbook.serving.compiled.plan import FeaturesPlan
from modelbook.serving.compiled.program import make_features

Floats = npt.NDArray[np.float64]


class Features:
    """Makes features as the FeatureEngineer does.

    Args:
        plan: How.
        arrays: Where its arrays are.
    """

    def __init__(self, plan: FeaturesPlan, arrays: ArrayFolder) -> None:
        self._plan = plan
        self._program = (arrays.read(plan.steps), arrays.read(plan.constants), plan.room)
        self._places = None
        more = 0
        if plan.places is not None:
            from modelbook.serving.compiled.places import Places  # brings SciPy

            self._places = Places(plan.places, arrays)
            more = plan.places.width
        self._more = more
        self._columns = Columns(
            numbers=plan.numbers, truths=plan.truths, texts=plan.texts, times=plan.times, more=more
        )

    def matrix(self, rows: Rows) -> Floats:
        """Return the features, `(n_rows, n_features)`.

        Raises:
            DataInvalidError: A true-or-false column has another number than 0 or 1.
        """
        values = self._columns.read(rows)
        if self._places is not None and self._more:
            values[:, -self._more :] = self._places.read(rows)
        features = np.empty((len(values), self._plan.features))
        make_features(self._program, values, features)
        return features
