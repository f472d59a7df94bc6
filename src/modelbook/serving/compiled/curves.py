"""The curves that make predictions of sums, and turn transformed targets back."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbook.serving.compiled.plan import Link

Floats = npt.NDArray[np.float64]

_LARGEST_EXPONENT = 700.0  # exp of more than 709 is not finite
# scikit-learn's QuantileTransformer takes what is nearer to the ends than this for the ends.
_NEAR_END = 1e-7


def linked(sums: npt.NDArray[Any], link: Link, *, alpha: float = 1.0) -> npt.NDArray[Any]:
    """Return what an estimator says by its sums, `(n_rows, n_outputs)`, in their dtype.

    A sigmoid makes two probabilities of one sum, the second one being that of the sum.

    Example:
        >>> linked(np.array([[0.0]]), "sigmoid").tolist()
        [[0.5, 0.5]]
    """
    match link:
        case "identity" | "shares":
            return sums
        case "exponential":
            return np.asarray(np.exp(sums))
        case "sigmoid":
            positive = _sigmoid(sums[:, 0] * sums.dtype.type(alpha))
            return np.stack([1 - positive, positive], axis=1)
        case "softmax":
            powers = np.exp(sums - sums.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sigmoid(sums: npt.NDArray[Any]) -> npt.NDArray[Any]:
    limit = sums.dtype.type(_LARGEST_EXPONENT if sums.dtype == np.float64 else 80.0)
    return np.asarray(1 / (1 + np.exp(-np.maximum(sums, -limit))))


def exp_less_one(numbers: Floats) -> Floats:
    """Return exp(x) - 1 of each number."""
    return np.asarray(np.expm1(numbers))


def from_normal(numbers: Floats, references: Floats, quantiles: Floats) -> Floats:
    """Return the values whose place among the quantiles of a target is that in a normal distribution."""
    places = np.array([0.5 * math.erfc(-number / math.sqrt(2.0)) for number in numbers.tolist()])
    values = np.interp(places, references, quantiles)
    values[places + _NEAR_END > 1.0] = quantiles[-1]
    values[places - _NEAR_END < 0.0] = quantiles[0]
    return np.asarray(values)


ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = MappingProxyType(
    {
        "identity": lambda values: values,
        "logistic": _sigmoid,
        "relu": lambda values: np.maximum(values, 0.0),
        "tanh": np.tanh,
    }
)
