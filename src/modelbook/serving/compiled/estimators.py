"""What is made of features: numbers, or classes with their probabilities."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from modelbook.errors import DataInvalidError
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.blocks import Blocks
from modelbook.serving.compiled.bounds import check_trees
from modelbook.serving.compiled.curves import ACTIVATIONS, exp_less_one, from_normal, linked
from modelbook.serving.compiled.kernel import add_leaves
from modelbook.serving.compiled.plan import (
    BlendPlan,
    EstimatorPlan,
    LinearPlan,
    NetworkPlan,
    TargetPlan,
    TreesPlan,
)

Floats = npt.NDArray[np.float64]

_BLOCK = 2**18
_WALKS_WORTH_A_THREAD = 50_000


class Classes(NamedTuple):
    """What is said of the classes of rows.

    Attributes:
        chosen: The position of the class of each row, `(n_rows,)`.
        probabilities: Those of all classes, `(n_rows, n_classes)`.
    """

    chosen: npt.NDArray[np.intp]
    probabilities: Floats


class Estimator(Protocol):
    """What answers; of the two questions the one that suits its task."""

    def predict(self, matrix: Floats) -> Floats:
        """Return a number for each row, `(n_rows,)`."""
        ...

    def classify(self, matrix: Floats) -> Classes:
        """Return the class of each row, and the probabilities of all."""
        ...


class Place(NamedTuple):
    """Where an estimator works.

    Attributes:
        arrays: Where its arrays are.
        features: How many features it is given.
        blocks: Shares out what is worth it.
    """

    arrays: ArrayFolder
    features: int
    blocks: Blocks


def open_estimator(plan: EstimatorPlan, place: Place) -> Estimator:
    """Return what answers by a plan.

    Raises:
        ModelRefusedError: Its trees lead nowhere.
    """
    match plan:
        case TreesPlan():
            return Trees(plan, place)
        case LinearPlan():
            return Linear(plan, place)
        case NetworkPlan():
            return Network(plan, place)
        case TargetPlan():
            return Target(plan, place)
        case BlendPlan():
            return Blend(plan, place)


class Trees:
    """A sum over trees."""

    def __init__(self, plan: TreesPlan, place: Place) -> None:
        self._plan = plan
        self._blocks = place.blocks
        parts = (plan.nodes, plan.roots, plan.columns, plan.leaves, plan.words)
        self._trees = tuple(map(place.arrays.read, parts))
        self._base = place.arrays.read(plan.base)
        self._tree_count = len(self._trees[1])
        check_trees(self._trees, sums=len(self._base), features=place.features)

    def predict(self, matrix: Floats) -> Floats:
        """Return a number for each row, `(n_rows,)`."""
        numbers = linked(self._sums(matrix), self._plan.link)[:, 0]
        return np.asarray(numbers, dtype=np.float64)

    def classify(self, matrix: Floats) -> Classes:
        """Return the class of each row, and the probabilities of all."""
        sums = self._sums(matrix)
        linked_sums = linked(sums, self._plan.link, alpha=self._plan.alpha)
        probabilities = np.asarray(linked_sums, dtype=np.float64)
        if self._plan.is_normalised:
            probabilities /= probabilities.sum(axis=1, keepdims=True)
        return Classes(_chosen(sums if self._plan.is_by_sum else probabilities), probabilities)

    def _sums(self, matrix: Floats) -> Floats:
        if not self._plan.takes_gaps:
            _refuse_gaps(matrix)
        if self._plan.is_single:
            matrix = matrix.astype(np.float32).astype(np.float64)
        sums = np.empty((len(matrix), len(self._base)), dtype=self._base.dtype)
        sums[:] = self._base
        is_worth_it = len(matrix) * self._tree_count >= _WALKS_WORTH_A_THREAD
        self._blocks.run(
            lambda block: add_leaves(self._trees, matrix[block], sums[block]),
            len(matrix),
            is_worth_it=is_worth_it,
        )
        if self._plan.divisor > 1:
            sums /= self._plan.divisor
        return sums


class Linear:
    """Weighted sums of features, each row summed by itself as in `shipped/linear.py`."""

    def __init__(self, plan: LinearPlan, place: Place) -> None:
        self._link = plan.link
        self._coefficients = place.arrays.read(plan.coefficients)
        self._intercepts = place.arrays.read(plan.intercepts)

    def predict(self, matrix: Floats) -> Floats:
        """Return a number for each row, `(n_rows,)`."""
        return np.asarray(self._sums(matrix)[:, 0])

    def classify(self, matrix: Floats) -> Classes:
        """Return the class of each row, and the probabilities of all."""
        sums = self._sums(matrix)
        return Classes(_chosen(sums), linked(sums, self._link))

    def _sums(self, matrix: Floats) -> Floats:
        _refuse_gaps(matrix)
        sums = [(matrix * row).sum(axis=1) for row in self._coefficients]
        return np.asarray(np.stack(sums, axis=1) + self._intercepts)


class Network:
    """Layers of weighted sums, each row summed by itself as in `shipped/network.py`."""

    def __init__(self, plan: NetworkPlan, place: Place) -> None:
        self._plan = plan
        self._layers = [
            (place.arrays.read(weights), place.arrays.read(intercepts))
            for weights, intercepts in zip(plan.weights, plan.intercepts, strict=True)
        ]

    def predict(self, matrix: Floats) -> Floats:
        """Return a number for each row, `(n_rows,)`."""
        return np.asarray(self._sums(matrix)[:, 0] * self._plan.scale + self._plan.mean)

    def classify(self, matrix: Floats) -> Classes:
        """Return the class of each row, and the probabilities of all."""
        probabilities = linked(self._sums(matrix), self._plan.link)
        return Classes(_chosen(probabilities), probabilities)

    def _sums(self, matrix: Floats) -> Floats:
        _refuse_gaps(matrix)
        values = matrix
        for weights, intercepts in self._layers[:-1]:
            values = ACTIVATIONS[self._plan.activation](_products(values, weights) + intercepts)
        weights, intercepts = self._layers[-1]
        return np.asarray(_products(values, weights) + intercepts)


class Target:
    """An estimator of a transformed target, whose numbers are turned back."""

    def __init__(self, plan: TargetPlan, place: Place) -> None:
        self._inner = open_estimator(plan.inner, place)
        self._quantiles = place.arrays.read(plan.quantiles) if plan.quantiles else None
        self._references = place.arrays.read(plan.references) if plan.references else None

    def predict(self, matrix: Floats) -> Floats:
        """Return a number for each row, `(n_rows,)`."""
        numbers = self._inner.predict(matrix)
        if self._quantiles is None or self._references is None:
            return exp_less_one(numbers)
        return from_normal(numbers, self._references, self._quantiles)

    def classify(self, matrix: Floats) -> Classes:
        """Refuse: classes are not transformed."""
        raise NotImplementedError


class Blend:
    """The weighted mean of several estimators."""

    def __init__(self, plan: BlendPlan, place: Place) -> None:
        self._members = [open_estimator(member, place) for member in plan.members]
        self._weights = [np.float64(weight) for weight in plan.weights]

    def predict(self, matrix: Floats) -> Floats:
        """Return a number for each row, `(n_rows,)`."""
        total = np.zeros(len(matrix))
        for member, weight in zip(self._members, self._weights, strict=True):
            total = total + weight * member.predict(matrix)
        return total

    def classify(self, matrix: Floats) -> Classes:
        """Return the class of each row, and the probabilities of all."""
        total = np.zeros((len(matrix), 1))
        for member, weight in zip(self._members, self._weights, strict=True):
            total = total + weight * member.classify(matrix).probabilities
        return Classes(_chosen(total), total)


def _chosen(scores: Floats) -> npt.NDArray[np.intp]:
    if scores.shape[1] == 1:
        return (scores[:, 0] > 0).astype(np.intp)
    return np.asarray(np.argmax(scores, axis=1))


def _refuse_gaps(matrix: Floats) -> None:
    if np.isnan(matrix).any():
        raise DataInvalidError(
            "the model does not take the rows",
            got="a value is missing that the model does not fill",
            hint="send rows like those that the model was trained on, with no more gaps than those",
        )


def _products(rows: Floats, weights: Floats) -> Floats:
    if not len(rows):
        return np.empty((0, len(weights)))
    step = max(1, _BLOCK // weights.size)
    blocks = [
        (rows[first : first + step, np.newaxis, :] * weights).sum(axis=2)
        for first in range(0, len(rows), step)
    ]
    return np.concatenate(blocks)
