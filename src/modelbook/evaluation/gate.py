"""The gate: a model's test metrics held against the thresholds of the settings."""

import math
from collections.abc import Mapping

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
    thresholds = load_config(config).evaluation.thresholds
    checks = tuple(_check(name, metrics.get(name), limits) for name, limits in thresholds.items())
    if not checks:
        return GateDecision(verdict=GateVerdict.NONE, checks=())
    passed = all(check.passed for check in checks)
    return GateDecision(verdict=GateVerdict.PASSED if passed else GateVerdict.REJECTED, checks=checks)


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
        passed=measured is not None
        and (limits.min is None or measured >= limits.min)
        and (limits.max is None or measured <= limits.max),
    )
