import numpy as np
import pytest

from modelbook.evaluation.curves import (
    Scored,
    calibration,
    precision_over_recall,
    roc,
    scored_classes,
    summed_up,
)

ROWS = np.array([0, 1, 1, 0])
SCORES = np.array([[0.9, 0.1], [0.65, 0.35], [0.1, 0.9], [0.6, 0.4]])


def test_of_two_classes_the_positive_one_is_judged():
    """Two classes give one curve, three give three."""
    (side,) = scored_classes(ROWS, SCORES, ["no", "yes"], positive=1)
    assert side.name == "yes"
    assert side.is_class.tolist() == [False, True, True, False]
    assert len(scored_classes(ROWS, SCORES, ["no", "yes"], positive=None)) == 2


def test_a_class_without_rows_has_no_curve():
    """A class that no test row belongs to is left out."""
    three = np.column_stack([SCORES, np.zeros(4)])
    assert [side.name for side in scored_classes(ROWS, three, ["a", "b", "c"], positive=None)] == ["a", "b"]


def test_areas_by_hand():
    """Three of four pairs in the right order is an AUC of 3/4; the average precision is 1/2 + 1/2 x 2/3."""
    side = Scored("yes", ROWS == 1, SCORES[:, 1])
    assert roc(side).area == pytest.approx(3 / 4)
    assert precision_over_recall(side).area == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_calibration_by_hand():
    """Bins without rows are left out, and the error is weighted by rows."""
    side = Scored("yes", np.array([False, True, True, True]), np.array([0.25, 0.25, 0.95, 1.0]))
    curve = calibration(side)
    assert curve.x.tolist() == pytest.approx([0.25, 0.975])
    assert curve.y.tolist() == pytest.approx([0.5, 1.0])
    assert curve.area == pytest.approx((2 * 0.25 + 2 * 0.025) / 4)


def test_beyond_ten_classes_curves_are_means():
    """Eleven classes give one curve over all decisions and one that is their mean."""
    rows = np.arange(11)
    sides = scored_classes(rows, np.eye(11), [str(row) for row in rows], positive=None)
    micro, macro = summed_up(sides, roc)
    assert (micro.name, macro.name) == ("micro, 11 classes", "macro, 11 classes")
    assert micro.area == macro.area == pytest.approx(1)
