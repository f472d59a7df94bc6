"""Answers held against those that were recorded."""

import numpy as np
import pytest

from modelbook.serving.answers import Answer, count_differing


def differing(found, expected) -> int:
    return count_differing(Answer(np.array(found), None), Answer(np.array(expected), None))


@pytest.mark.parametrize("size", [1e200, np.inf, -np.inf, np.nan])
def test_one_strange_number_hides_no_others(size) -> None:
    """What is far off is seen beside a huge, an infinite or a missing number, which is like itself."""
    assert differing([1.0, 2.0, 3.0, size], [1.0, 2.0, 3.0, size]) == 0
    assert differing([1.0, 2.5, 3.0, size], [1.0, 2.0, 3.0, size]) == 1
    assert differing([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, size]) == 1


def test_what_is_left_of_sums_is_no_difference() -> None:
    """The last digits of a sum that comes to nothing differ with its order."""
    assert differing([1e-16, 1.0, 2.0], [0.0, 1.0, 2.0]) == 0


@pytest.mark.parametrize("numbers", [[], [np.nan, np.nan], [np.inf]])
def test_no_finite_numbers(numbers) -> None:
    """There may be no number to measure by."""
    assert differing(numbers, numbers) == 0
