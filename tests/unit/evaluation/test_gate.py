import math
import subprocess
import sys

import pytest

from modelbook.errors import ConfigError
from modelbook.evaluation.gate import judge
from modelbook.records import GateDecision, GateVerdict


def settings(**thresholds):
    return {"evaluation": {"thresholds": thresholds}}


def test_a_model_within_its_limits_passes():
    """Each threshold is one check, named after its metric and carrying value and limits."""
    decision = judge({"rmse": 9.0, "r2_score": 0.7}, settings(rmse={"max": 10.0}, r2_score={"min": 0.6}))
    assert decision.verdict is GateVerdict.PASSED
    assert [(check.name, check.value, check.min, check.max) for check in decision.checks] == [
        ("rmse_threshold", 9.0, None, 10.0),
        ("r2_score_threshold", 0.7, 0.6, None),
    ]


def test_one_missed_threshold_rejects():
    """All checks are made, and one that fails is enough."""
    decision = judge({"rmse": 11.0, "r2_score": 0.7}, settings(rmse={"max": 10.0}, r2_score={"min": 0.6}))
    assert decision.verdict is GateVerdict.REJECTED
    assert [check.passed for check in decision.checks] == [False, True]


@pytest.mark.parametrize(("value", "passed"), [(1.0, True), (2.0, True), (0.99, False), (2.01, False)])
def test_limits_are_accepted_values(value, passed):
    """A value on a limit passes, one beyond it on either side does not."""
    assert judge({"rmse": value}, settings(rmse={"min": 1.0, "max": 2.0})).passed is passed


@pytest.mark.parametrize("metrics", [{}, {"rmse": math.nan}])
def test_what_was_not_measured_fails(metrics):
    """An absent metric and NaN fail their check and are recorded as no value."""
    (check,) = judge(metrics, settings(rmse={"max": 1e9})).checks
    assert not check.passed
    assert check.value is None


def test_without_thresholds_nothing_vouches_for_a_model():
    """Where nothing is asked the verdict is none, which keeps no model from being registered."""
    decision = judge({"rmse": 1.0}, settings())
    assert decision == GateDecision(verdict=GateVerdict.NONE, checks=())
    assert decision.passed


def test_a_threshold_of_another_task_is_a_mistake():
    """Accuracy is no metric of a regression, and the settings say so."""
    with pytest.raises(ConfigError, match="no regression metrics: accuracy"):
        judge({}, settings(accuracy={"min": 0.5}))


def test_judging_is_light():
    """Judging again after a changed threshold loads neither scikit-learn nor pandas nor matplotlib."""
    code = (
        "import sys, modelbook.evaluation.gate; print({'sklearn', 'pandas', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
