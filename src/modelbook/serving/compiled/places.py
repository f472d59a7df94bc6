"""What a place says of a row, out of arrays that `features/neighbours.py` learned."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from modelbook.serving.answers import Rows
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.plan import PlacesPlan
from modelbook.serving.compiled.program import LARGEST

Floats = npt.NDArray[np.float64]

_KM_PER_DEGREE = 111.195  # as in features/neighbours.py
_TURN = 360.0
_CHUNK_ROWS = 16_384


class Places:
    """Makes the features of places: means of rows around, distances to centres, turned axes.

    Args:
        plan: What is known of places.
        arrays: Where its arrays are.
    """

    def __init__(self, plan: PlacesPlan, arrays: ArrayFolder) -> None:
        self._plan = plan
        self._centres = arrays.read(plan.centres)
        known = arrays.read(plan.known) if plan.known else np.empty((0, 2))
        self._values = arrays.read(plan.values) if plan.values else np.empty((0, 0))
        self._columns = np.ascontiguousarray(self._values.T)
        self._tree: Any = cKDTree(known) if len(known) else None

    def read(self, rows: Rows) -> Floats:
        """Return the features of places, `(n_rows, n_features)`; NaN where a row has no place."""
        flat, has_place = self._flat(rows)
        means = np.full((len(flat), len(self._columns) * len(self._plan.neighbours)), np.nan)
        if self._tree is not None:
            means[has_place] = self._means(flat[has_place])
        return np.column_stack([means, *self._distances(flat), *self._turned(flat)])

    def _flat(self, rows: Rows) -> tuple[Floats, npt.NDArray[np.bool_]]:
        north, east = (_in_range(rows[name]) for name in (self._plan.latitude, self._plan.longitude))
        middle_north, middle_east, narrowing = self._plan.origin
        around = (east - middle_east + _TURN / 2) % _TURN - _TURN / 2
        flat = np.stack(
            [around * (narrowing * _KM_PER_DEGREE), (north - middle_north) * _KM_PER_DEGREE], axis=1
        )
        has_place = ~np.isnan(flat[:, 0] + flat[:, 1])
        flat[~has_place] = np.nan
        return flat, has_place

    def _means(self, places: Floats) -> Floats:
        chunks = [
            self._means_of_chunk(places[start : start + _CHUNK_ROWS])
            for start in range(0, max(len(places), 1), _CHUNK_ROWS)
        ]
        return np.concatenate(chunks)

    def _means_of_chunk(self, places: Floats) -> Floats:
        wanted = [min(count, len(self._values)) for count in self._plan.neighbours]
        distances, nearest = self._tree.query(places, k=np.arange(1, max(wanted) + 1))
        weights = 1.0 / (distances + self._plan.scale)
        last = np.array(wanted) - 1
        sums = np.cumsum(weights, axis=1)[:, last]
        means = [np.cumsum(weights * column[nearest], axis=1)[:, last] / sums for column in self._columns]
        return np.concatenate(means, axis=1)

    def _distances(self, flat: Floats) -> Iterator[Floats]:
        for east, north in self._centres:
            yield np.sqrt((flat[:, 0] - east) ** 2 + (flat[:, 1] - north) ** 2)

    def _turned(self, flat: Floats) -> Iterator[Floats]:
        for angle in self._plan.rotations:
            turn = float(np.radians(angle))
            yield flat[:, 0] * float(np.cos(turn)) + flat[:, 1] * float(np.sin(turn))


def _in_range(numbers: Floats) -> Floats:
    return np.where(np.abs(numbers) > LARGEST, np.nan, numbers)
