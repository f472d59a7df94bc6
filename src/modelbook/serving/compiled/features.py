"""Rows to the matrix that an estimator takes."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelbook.serving.answers import Rows
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.bounds import check_steps
from modelbook.serving.compiled.columns import Columns
from modelbook.serving.compiled.plan import FeaturesPlan, PlacesPlan
from modelbook.serving.compiled.program import make_features

if TYPE_CHECKING:
    from modelbook.serving.compiled.places import Places

Floats = npt.NDArray[np.float64]


class Features:
    """Makes features as the FeatureEngineer does.

    Args:
        plan: How.
        arrays: Where its arrays are.

    Raises:
        ModelRefusedError: Its steps lead nowhere.
    """

    def __init__(self, plan: FeaturesPlan, arrays: ArrayFolder) -> None:
        self._count = plan.features
        self._program = (arrays.read(plan.steps), arrays.read(plan.constants), plan.room)
        self._places = None if plan.places is None else _open_places(plan.places, plan.numbers, arrays)
        more = 0 if plan.places is None else plan.places.width
        self._columns = Columns(
            numbers=plan.numbers, truths=plan.truths, texts=plan.texts, times=plan.times, more=more
        )
        check_steps(*self._program, values=self._columns.width, features=plan.features)

    def matrix(self, rows: Rows) -> Floats:
        """Return the features, `(n_rows, n_features)`.

        Raises:
            DataInvalidError: A true-or-false column has another number than 0 or 1.
        """
        values = self._columns.read(rows)
        if self._places is not None:
            self._places.write(values)
        features = np.empty((len(values), self._count))
        make_features(self._program, values, features)
        return features


def _open_places(plan: PlacesPlan, numbers: tuple[str, ...], arrays: ArrayFolder) -> "Places":
    from modelbook.serving.compiled.places import Places  # brings SciPy

    latitude, longitude = (numbers.index(name) for name in (plan.latitude, plan.longitude))
    return Places(plan, arrays, latitude=latitude, longitude=longitude)
