import math

import pytest

from modelbook.evaluation.typography import MINUS, number, share, signed, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-2.5, f"{MINUS}2.5"),
        (-48677.2, f"{MINUS}48,677"),
        (1e-7, f"1e{MINUS}07"),
        (math.inf, "∞"),
        (-math.inf, f"{MINUS}∞"),
        (math.nan, "\N{EN DASH}"),
    ],
)
def test_numbers_are_set_as_in_print(value, text):
    """A minus is a minus sign, thousands have separators, what is not defined is a dash."""
    assert number(value) == text


def test_differences_carry_a_sign():
    """A fall has a minus sign; one that is not defined is a dash."""
    assert signed(-1234.5) == f"{MINUS}1,234"
    assert signed(None) == signed(math.nan) == "\N{EN DASH}"


def test_a_share_of_nothing_is_not_defined():
    """There is no percentage of zero rows."""
    assert share(0, 0) == "\N{EN DASH}"


def test_sizes_go_up_to_gigabytes():
    """A forest of twelve gigabytes is written as one."""
    assert size(12_300_000_000) == "12.3 GB"
