"""What goes into a model and what comes out of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

# One array for each input column, `(n_rows,)`: float64 with NaN where missing for numbers and truth values,
# objects (`str`, None where missing) for text, datetime64[us] for times.
Rows = Mapping[str, npt.NDArray[Any]]

# Sums of another order, and curves of another library, differ in the last of some sixteen digits; of what
# XGBoost adds up in float32, in the last of seven.
_MOST_DIFFERENCE = 1e-5
_NOTHING = 1e-12


class Answer(NamedTuple):
    """What a model says of rows.

    Attributes:
        predictions: `(n_rows,)`: float64, or the classes.
        probabilities: `(n_rows, n_classes)`, in the order of the record's classes; None where nobody asked,
            or the model has none.
    """

    predictions: npt.NDArray[Any]
    probabilities: npt.NDArray[np.float64] | None


def count_differing(answer: Answer, expected: Answer) -> int:
    """Return the number of rows of which two answers do not say the same, numbers to 1e-5 of their size.

    Example:
        >>> one, other = (Answer(np.array([1.0, number]), None) for number in (2.0, 2.1))
        >>> count_differing(one, one), count_differing(one, other)
        (0, 1)
    """
    differs = ~_alike(answer.predictions, expected.predictions)
    if expected.probabilities is not None:
        if answer.probabilities is None:
            return len(differs)
        differs = differs | ~_alike(answer.probabilities, expected.probabilities).all(axis=1)
    return int(differs.sum())


def _alike(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if expected.dtype.kind != "f":
        return np.asarray(found == expected)
    finite = np.abs(expected[np.isfinite(expected)])
    atol = _NOTHING * float(np.median(finite)) if finite.size else 0.0
    return np.asarray(np.isclose(found, expected, rtol=_MOST_DIFFERENCE, atol=atol, equal_nan=True))
