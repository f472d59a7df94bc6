"""What a place says of a row, out of arrays that `features/neighbours.py` learned."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.bounds import check_places
from modelbook.serving.compiled.kernel import machine_code
from modelbook.serving.compiled.plan import PlacesPlan
from modelbook.serving.compiled.program import LARGEST

Floats = npt.NDArray[np.float64]

_KM_PER_DEGREE = 111.195  # as in features/neighbours.py
_TURN = 360.0
_FARTHEST_KM = 1e30


class Places:
    """Makes the features of places: means of rows around, distances to centres, turned axes.

    Args:
        plan: What is known of places.
        arrays: Where its arrays are.
        latitude: Which of the values is that of degrees north.
        longitude: Which one is that of degrees east.

    Raises:
        ModelRefusedError: The arrays do not go together.
    """

    def __init__(self, plan: PlacesPlan, arrays: ArrayFolder, *, latitude: int, longitude: int) -> None:
        known = arrays.read(plan.known) if plan.known else np.empty((0, 2))
        values = arrays.read(plan.values) if plan.values else np.empty((0, 0))
        counts = np.array([min(count, len(known)) for count in plan.neighbours], dtype=np.int64)
        self._axes = (latitude, longitude)
        self._origin = plan.origin
        self._tree: Any = cKDTree(known) if len(known) else None
        self._ranks = np.arange(1, int(counts.max(initial=0)) + 1)
        centres, turns = arrays.read(plan.centres), _turns(plan.rotations)
        made = values.shape[1] * len(counts) + len(centres) + len(turns)
        check_places(known, values, made=made, room=plan.width)
        self._known = (values, counts, plan.scale, centres, turns)
        self._width = plan.width

    def write(self, values: Floats) -> None:
        """Write the features into the last of a table's values, `(n_rows, n_values)`; NaN without a place."""
        flat = _lay_flat(values, self._axes, self._origin)
        distances, nearest = self._nearest(flat)
        _write_features(values, flat, distances, nearest, self._known, self._width)

    def _nearest(self, flat: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
        """Return the nearest training rows and how far they are, `(n_rows, n_neighbours)`."""
        if self._tree is None:
            return np.empty((len(flat), 0)), np.empty((len(flat), 0), dtype=np.intp)
        has_place = ~np.isnan(flat[:, 0])
        if has_place.all() and len(flat):
            distances, nearest = self._tree.query(flat, k=self._ranks)
            return distances, nearest
        distances = np.full((len(flat), len(self._ranks)), np.nan)
        nearest = np.zeros(distances.shape, dtype=np.intp)
        if has_place.any():
            distances[has_place], nearest[has_place] = self._tree.query(flat[has_place], k=self._ranks)
        return distances, nearest


def _turns(angles: tuple[float, ...]) -> Floats:
    """Return cosine and sine of angles in degrees, `(n_angles, 2)`."""
    turns = [float(np.radians(angle)) for angle in angles]
    return np.array([(np.cos(turn), np.sin(turn)) for turn in turns]).reshape(-1, 2)


@machine_code
def _lay_flat(values: Any, axes: Any, origin: Any) -> Any:
    """Return kilometres east and north of an origin; NaN where either is missing."""
    flat = np.empty((len(values), 2))
    for row in range(len(values)):
        north, east = values[row, axes[0]], values[row, axes[1]]
        around = (east - origin[1] + _TURN / 2) % _TURN - _TURN / 2
        flat[row, 0] = around * (origin[2] * _KM_PER_DEGREE)
        flat[row, 1] = (north - origin[0]) * _KM_PER_DEGREE
        is_near = (
            abs(east) <= LARGEST  # however often that goes around
            and abs(flat[row, 0]) <= _FARTHEST_KM
            and abs(flat[row, 1]) <= _FARTHEST_KM
        )
        if not is_near:  # nor is what is no number
            flat[row] = np.nan
    return flat


@machine_code
def _write_features(  # noqa: PLR0917
    table: Any, flat: Any, distances: Any, nearest: Any, known: Any, width: int
) -> None:
    values, counts, scale, centres, turns = known
    for row in range(len(flat)):
        east, north = flat[row, 0], flat[row, 1]
        at = table.shape[1] - width
        for column in range(values.shape[1]):
            for count in counts:
                table[row, at] = _mean(values, column, distances[row, :count], nearest[row], scale)
                at += 1
        for centre in range(len(centres)):
            table[row, at] = math.sqrt((east - centres[centre, 0]) ** 2 + (north - centres[centre, 1]) ** 2)
            at += 1
        for turn in range(len(turns)):
            table[row, at] = east * turns[turn, 0] + north * turns[turn, 1]
            at += 1


@machine_code
def _mean(values: Any, column: int, distances: Any, nearest: Any, scale: float) -> float:  # noqa: PLR0917
    """Return the mean of a column over the nearest rows, each weighted by the inverse of its distance."""
    total = weights = 0.0
    for rank in range(len(distances)):
        weight = 1.0 / (distances[rank] + scale)
        weights += weight
        total += weight * values[nearest[rank], column]
    return total / weights if len(distances) else np.nan
