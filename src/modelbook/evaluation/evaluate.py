"""A model's predictions, measured and held against the thresholds."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from modelbook.config import ConfigLike, load_config
from modelbook.evaluation.gate import judge
from modelbook.evaluation.metrics import Label, compute_metrics


class ModelEvaluator:
    """Measures predictions by the metrics of the project's task and checks them against its thresholds.

    Args:
        config: The settings; `project.task` and `evaluation` are used.

    Raises:
        ConfigError: The settings are wrong.

    Example:
        >>> config = {"evaluation": {"thresholds": {"rmse": {"max": 1.0}}}}
        >>> report = ModelEvaluator(config).evaluate([1.0, 2.0], [1.0, 4.0])
        >>> report["threshold_checks"], report["all_checks_passed"]
        ({'rmse_threshold': False}, False)
    """

    def __init__(self, config: ConfigLike) -> None:
        self.config = load_config(config)

    def evaluate(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        probabilities: ArrayLike | None = None,
        classes: Sequence[Label] = (),
    ) -> dict[str, Any]:
        """Return the metrics, each threshold's answer, and whether all were kept.

        Args:
            y_true: The actual values, shape `(n_rows,)`.
            y_pred: The predicted values, shape `(n_rows,)`.
            probabilities: Shape `(n_rows, n_classes)`; without them roc_auc and log_loss are NaN.
            classes: The classes in the order of the columns of `probabilities`.

        Returns:
            `{"metrics": {name: value}, "threshold_checks": {"<metric>_threshold": bool},
            "all_checks_passed": bool}`; without thresholds there are no checks, and all are passed.

        Raises:
            UsageError: The lengths or shapes do not fit, there are no rows, or actual values are missing.
            ConfigError: `evaluation.positive_class` is none of the two classes.
        """
        metrics = compute_metrics(
            self.config.project.task,
            y_true,
            y_pred,
            probabilities=probabilities,
            classes=classes,
            positive_class=self.config.evaluation.positive_class,
        )
        decision = judge(metrics, self.config)
        return {
            "metrics": metrics,
            "threshold_checks": decision.answers,
            "all_checks_passed": decision.passed,
        }
