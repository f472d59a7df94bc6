"""The gate: a model's test metrics held against the thresholds, and the verdict on all that was asked."""

import math
from collections.abc import Iterable, Mapping

from modelbook.config import ConfigLike, Threshold, load_config
from modelbook.records import GateCheck, GateDecision, GateVerdict

LOWER_IS_BETTER = frozenset({"rmse", "mae", "mape", "log_loss"})
_TEST_PREFIX = "test_"


def judge(metrics: Mapping[str, float], config: ConfigLike) -> GateDecision:
    """Return the verdict on a model: rejected as soon as one metric misses its limits.

    Limits themselves are accepted values. A metric that is absent or NaN fails its check, because what was
    not measured cannot be vouched for. Without thresholds the verdict is `none`: nothing was asked of the
    model, so nothing vouches for it, though nothing keeps it from being registered.

    Args:
        metrics: The metrics of the test rows by bare name, as `compute_metrics` gives them.
        config: The settings; only `evaluation.thresholds` is used.

    Raises:
        ConfigError: The settings are wrong.

    Example:
        >>> config = {"evaluation": {"thresholds": {"rmse": {"max": 50.0}}}}
        >>> decision = judge({"rmse": 48.7}, config)
        >>> decision.verdict.value, decision.checks[0].name
        ('passed', 'rmse_threshold')
    """
    return decide(check_thresholds(metrics, config))


def check_thresholds(metrics: Mapping[str, float], config: ConfigLike) -> tuple[GateCheck, ...]:
    """Return a check for each of `evaluation.thresholds`, as `judge` has them.

    Raises:
        ConfigError: The settings are wrong.
    """
    thresholds = load_config(config).evaluation.thresholds
    return tuple(_check(name, metrics.get(name), limits) for name, limits in thresholds.items())


def decide(checks: Iterable[GateCheck]) -> GateDecision:
    """Return the verdict that checks come to: rejected as soon as one fails, passed when one vouches.

    A smoke test that passes vouches for the package and not for what the model is worth; with nothing else
    judged the verdict is `none`.

    Example:
        >>> works = GateCheck(
        ...     name="smoke_test", kind="smoke_test", metric="x", value=0, min=None, max=0, passed=True
        ... )
        >>> fails = works.model_copy(update={"passed": False})
        >>> decide([works]).verdict.value, decide([fails]).verdict.value
        ('none', 'rejected')
    """
    asked = tuple(checks)
    if any(check.passed is False for check in asked):
        return GateDecision(verdict=GateVerdict.REJECTED, checks=asked)
    vouches = any(check.passed and check.kind != "smoke_test" for check in asked)
    return GateDecision(verdict=GateVerdict.PASSED if vouches else GateVerdict.NONE, checks=asked)


def is_within(value: float, least: float | None, most: float | None) -> bool:
    """Return whether a value keeps to its limits, which are themselves accepted.

    Example:
        >>> is_within(1.0, None, 1.0), is_within(1.1, None, 1.0)
        (True, False)
    """
    return (least is None or value >= least) and (most is None or value <= most)


def held_out_metrics(recorded: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of the test rows by bare name, out of a run's recorded metrics.

    Example:
        >>> held_out_metrics({"test_rmse": 2.0, "train_rmse": 1.0, "cv_rmse_mean": 2.1})
        {'rmse': 2.0}
    """
    return {
        name.removeprefix(_TEST_PREFIX): value
        for name, value in recorded.items()
        if name.startswith(_TEST_PREFIX)
    }


def _check(metric: str, value: float | None, limits: Threshold) -> GateCheck:
    measured = None if value is None or math.isnan(value) else value
    return GateCheck(
        name=f"{metric}_threshold",
        metric=metric,
        value=measured,
        min=limits.min,
        max=limits.max,
        passed=measured is not None and is_within(measured, limits.min, limits.max),
    )
