"""What a place says about a row: the rows around it, the centres of where rows are, and turned axes.

This file travels with each model, so that the model can be loaded without Modelbook: it imports NumPy,
pandas, SciPy and scikit-learn alone. What is stored are arrays; the search tree over them is built again on
first use.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import KFold
from sklearn.utils.validation import check_is_fitted

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_KM_PER_DEGREE = 111.195  # a sphere of 6,371 km: its circumference over 360
_TURN = 360.0
_FARTHEST_KM = 1e30  # what is farther is no place, and may leave the range of float32
_FOLDS = 10
_CHUNK_ROWS = 16_384
_SCALE_ROWS = 10_000
_SMALLEST_SCALE = 0.001  # a metre: rows of one place count alike
_CENTRE_ROWS = 100_000
_CENTRE_ROUNDS = 50
_BINARY = 2


class NeighbourTargetError(ValueError):
    """The target's means among neighbours were to be learned without a target."""


class Geography(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """Adds what rows around a row have in common, its distances to learned centres, and turned axes.

    Latitude and longitude are laid flat around the mean of the training rows, in kilometres: east by the
    cosine of the mean latitude. Near rows stay near, and no function that rounds differently from machine to
    machine is called on a row. A row without a place has none of these features.

    A mean is weighted by 1 / (distance + scale), the scale being half of the training rows' distance to their
    nearest. Means of training rows are those of rows in the other nine of ten folds, so no row knows its own
    target; new rows see all training rows.

    Args:
        latitude: The column of degrees north, as numbers.
        longitude: The column of degrees east, as numbers.
        neighbours: The numbers of nearest training rows whose mean becomes a feature: of the target, or, for
            classes, of each class's share (with two classes of the last one's).
        columns: Number columns that have their mean among neighbours taken too; gaps count as the median.
        clusters: The number of centres that the distance to becomes a feature.
        rotations: Angles in degrees, counter-clockwise; the distance along the axis that the eastern one
            becomes when it is turned so far.
        task: `regression` or `classification`.
        seed: The seed of the folds and of the first centres.
        n_jobs: Threads to search with; they do not show in the result.

    Source:
        D. Shepard, "A two-dimensional interpolation function for irregularly-spaced data", ACM National
        Conference (1968) 517-524 (weights); S. Lloyd, "Least squares quantization in PCM", IEEE Transactions
        on Information Theory 28 (1982) 129-137 (centres).

    Example:
        >>> table = pd.DataFrame({"lat": [0.0, 0.0, 1.0, 1.0], "lon": [0.0, 0.1, 5.0, 5.1]})
        >>> nearest = Geography(latitude="lat", longitude="lon", neighbours=(1,))
        >>> nearest = nearest.fit(table, [1.0, 2.0, 8.0, 9.0])
        >>> nearest.transform(pd.DataFrame({"lat": [0.0], "lon": [-1.0]}))["near_1_target"].tolist()
        [1.0]
    """

    def __init__(
        self,
        *,
        latitude: str = "latitude",
        longitude: str = "longitude",
        neighbours: Sequence[int] = (),
        columns: Sequence[str] = (),
        clusters: int = 0,
        rotations: Sequence[float] = (),
        task: str = "regression",
        seed: int = 0,
        n_jobs: int = 1,
    ) -> None:
        self.latitude = latitude
        self.longitude = longitude
        self.neighbours = neighbours
        self.columns = columns
        self.clusters = clusters
        self.rotations = rotations
        self.task = task
        self.seed = seed
        self.n_jobs = n_jobs

    def __getstate__(self) -> dict[str, Any]:
        """Return what is stored: everything but the search tree, which follows from the places."""
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_tree", None)
        return state

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Learn where training rows are and what they hold."""
        self._learn(X, y)
        return self

    def fit_transform(self, X: pd.DataFrame, y: Any = None) -> pd.DataFrame:
        """Learn where training rows are, and return them with the features, their means out of fold.

        Args:
            X: A table of fixed types, `(n_rows, n_columns)`.
            y: The target, `(n_rows,)`; needed where there are `neighbours`.

        Raises:
            NeighbourTargetError: There are `neighbours`, and no target.
        """
        flat, has_place = self._learn(X, y)
        means = np.full((len(X), len(self._mean_names())), np.nan)
        if self.neighbours:
            means[has_place] = self._means_out_of_fold()
        return self._extended(X, flat, means)

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the table with the features; means are those of all training rows around."""
        check_is_fitted(self)
        flat, has_place = self._flat(X)
        means = np.full((len(X), len(self._mean_names())), np.nan)
        if self.neighbours and len(self.places_):
            means[has_place] = self._means(self._search_tree(), self.values_, flat[has_place])
        return self._extended(X, flat, means)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:  # noqa: ARG002
        """Return the names of the columns, those made here last."""
        check_is_fitted(self)
        return np.array([*self.feature_names_in_, *self._made_names()], dtype=object)

    def _learn(self, table: pd.DataFrame, y: Any) -> tuple[Floats, Flags]:
        if self.neighbours and y is None:
            raise NeighbourTargetError("the target's mean among neighbours needs the target: fit with y")
        self.feature_names_in_ = np.array(table.columns, dtype=object)
        self.n_features_in_ = len(table.columns)
        self.origin_ = _origin(*self._degrees(table))
        flat, has_place = self._flat(table)
        places = flat[has_place]
        if self.neighbours:
            self.places_ = places
            self.value_names_, values = self._values(table, np.asarray(y))
            self.values_ = values[has_place]
            self.scale_ = _scale(places)
            self._tree = cKDTree(places)
        self.centres_ = _centres(places, self.clusters, self.seed)
        return flat, has_place

    def _degrees(self, table: pd.DataFrame) -> tuple[Floats, Floats]:
        degrees = (table[name].to_numpy(dtype=np.float64) for name in (self.latitude, self.longitude))
        north, east = degrees
        return north, east

    def _flat(self, table: pd.DataFrame) -> tuple[Floats, Flags]:
        """Return kilometres east and north of the origin, and which rows have a place."""
        north, east = self._degrees(table)
        middle_north, middle_east, narrowing = self.origin_
        around = (east - middle_east + _TURN / 2) % _TURN - _TURN / 2  # the short way, over the date line too
        flat = np.stack(
            [around * (narrowing * _KM_PER_DEGREE), (north - middle_north) * _KM_PER_DEGREE], axis=1
        )
        has_place: Flags = np.abs(flat).max(axis=1) <= _FARTHEST_KM
        flat[~has_place] = np.nan
        return flat, has_place

    def _values(self, table: pd.DataFrame, y: npt.NDArray[Any]) -> tuple[list[str], Floats]:
        """Return what means are taken of, with names: the target or its classes, then the columns."""
        if self.task == "regression":
            names, blocks = ["target"], [y.astype(np.float64)]
        else:
            classes = np.unique(y)
            shown = classes[-1:] if len(classes) == _BINARY else classes
            names, blocks = (
                [str(label) for label in shown],
                [(y == label).astype(np.float64) for label in shown],
            )
        for name in self.columns:
            column = table[name].to_numpy(dtype=np.float64)
            blocks.append(np.where(np.isnan(column), _median(column), column))
        return [*names, *self.columns], np.stack(blocks, axis=1)

    def _search_tree(self) -> Any:
        if not hasattr(self, "_tree"):
            self._tree = cKDTree(self.places_)
        return self._tree

    def _means_out_of_fold(self) -> Floats:
        rows = len(self.places_)
        means = np.full((rows, len(self._mean_names())), np.nan)
        if rows < _BINARY:
            return means
        folds = KFold(min(_FOLDS, rows), shuffle=True, random_state=self.seed)
        for others, held_out in folds.split(self.places_):
            tree = cKDTree(self.places_[others])
            means[held_out] = self._means(tree, self.values_[others], self.places_[held_out])
        return means

    def _means(self, tree: Any, values: Floats, places: Floats) -> Floats:
        chunks = [
            self._means_of_chunk(tree, values, places[start : start + _CHUNK_ROWS])
            for start in range(0, max(len(places), 1), _CHUNK_ROWS)
        ]
        return np.concatenate(chunks)

    def _means_of_chunk(self, tree: Any, values: Floats, places: Floats) -> Floats:
        wanted = [min(count, len(values)) for count in self.neighbours]
        distances, nearest = tree.query(places, k=np.arange(1, max(wanted) + 1), workers=self.n_jobs)
        weights = 1.0 / (distances + self.scale_)
        last = np.array(wanted) - 1
        # Running sums add one neighbour after the other, so a row's mean is the same alone and among others.
        sums = np.cumsum(weights, axis=1)[:, last]
        means = [
            np.cumsum(weights * column[nearest], axis=1)[:, last] / sums
            for column in np.ascontiguousarray(values.T)
        ]
        return np.concatenate(means, axis=1)

    def _extended(self, table: pd.DataFrame, flat: Floats, means: Floats) -> pd.DataFrame:
        made = [*means.T, *_distances(flat, self.centres_), *_turned(flat, self.rotations)]
        columns = {name: table[name].to_numpy() for name in table.columns}
        columns |= dict(zip(self._made_names(), made, strict=True))
        series = {
            name: pd.Series(values, table.index, dtype=object) if values.dtype == object else values
            for name, values in columns.items()
        }
        return pd.DataFrame(series, index=table.index)

    def _mean_names(self) -> list[str]:
        if not self.neighbours:
            return []
        return [f"near_{count}_{name}" for name in self.value_names_ for count in self.neighbours]

    def _made_names(self) -> list[str]:
        centres = [f"distance_to_centre_{number + 1}" for number in range(len(self.centres_))]
        return [*self._mean_names(), *centres, *(f"axis_{angle:g}_degrees" for angle in self.rotations)]


def _origin(north: Floats, east: Floats) -> tuple[float, float, float]:
    """Return the mean latitude, a middle longitude and the cosine of that latitude."""
    known = ~(np.isnan(north) | np.isnan(east))
    if not known.any():
        return 0.0, 0.0, 1.0
    angles = np.radians(east[known])
    middle = float(np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())))
    mean = float(north[known].mean())
    return mean, middle, float(np.cos(np.radians(mean)))


def _scale(places: Floats) -> float:
    """Return half of the median distance from a row to the nearest row that lies elsewhere."""
    different = np.unique(places, axis=0)
    if len(different) < _BINARY:
        return _SMALLEST_SCALE
    asked = different[:: 1 + len(different) // _SCALE_ROWS]
    distances, _ = cKDTree(different).query(asked, k=[2])
    return max(float(np.median(distances)) / 2, _SMALLEST_SCALE)


def _centres(places: Floats, count: int, seed: int) -> Floats:
    """Return the means of groups around centres, moved until nothing changes, `(n_centres, 2)`."""
    if not count or not len(places):
        return np.empty((0, 2))
    rng = np.random.default_rng(seed)
    rows = places[rng.permutation(len(places))[:_CENTRE_ROWS]]
    different = np.unique(rows, axis=0)
    centres = different[rng.permutation(len(different))[:count]]
    for _ in range(_CENTRE_ROUNDS):
        nearest = cKDTree(centres).query(rows)[1]
        # Sums in the order of the rows: scikit-learn's KMeans adds in whatever order its threads end.
        sizes = np.bincount(nearest, minlength=len(centres))
        sums = np.stack([np.bincount(nearest, axis, len(centres)) for axis in rows.T], axis=1)
        moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _distances(flat: Floats, centres: Floats) -> Iterator[Floats]:
    for east, north in centres:
        yield np.sqrt((flat[:, 0] - east) ** 2 + (flat[:, 1] - north) ** 2)


def _turned(flat: Floats, angles: Sequence[float]) -> Iterator[Floats]:
    for angle in angles:
        turn = float(np.radians(angle))
        yield flat[:, 0] * float(np.cos(turn)) + flat[:, 1] * float(np.sin(turn))


def _median(column: Floats) -> float:
    known = column[~np.isnan(column)]
    return float(np.median(known)) if len(known) else 0.0
