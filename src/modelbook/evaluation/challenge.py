"""The change against production: whether a version is better on its own test rows, beyond chance."""

from collections.abc import Sequence

import pandas as pd

from modelbook.config import PromotionConfig, Task
from modelbook.errors import UsageError
from modelbook.evaluation.difference import Difference
from modelbook.evaluation.gate import LOWER_IS_BETTER
from modelbook.evaluation.metrics import Label
from modelbook.evaluation.resampling import paired_differences
from modelbook.records import GateCheck

LEAST_ROWS = 10

_PROBABILITY = "probability_"


def challenge(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    settings: PromotionConfig,
    *,
    task: Task,
    classes: Sequence[Label] = (),
    positive_class: Label | None = None,
    rows_trained_on: int | None = 0,
    threads: int = 1,
    seed: int = 0,
) -> GateCheck:
    """Return whether a challenger is better than the champion in the metric that decides.

    Both are measured on the challenger's test rows. The challenger passes when the two-sided interval for
    the difference lies on the better side of zero as a whole: of challengers as good as the champion that
    lets some 2.5 % pass at the default level of 0.95, and never one that only looks better. With
    `min_improvement` it has to lie beyond that share of the champion's value. Below `LEAST_ROWS` rows nothing
    is beyond chance: resamples of three rows would let one in eight equal challengers pass.

    Args:
        champion: What the version in production predicts for the challenger's test rows: `actual`,
            `predicted` and for classification `probability_<class>`, `(n_rows, n_columns)`.
        challenger: What the challenger predicted for the same rows in the same order.
        settings: `evaluation.gate.promotion`.
        task: What both predict.
        classes: The challenger's classes. Of the champion's probabilities those of other classes are left
            out, and a class that it does not know has probability 0.
        positive_class: The class that binary metrics are about; None takes the last in sorted order.
        rows_trained_on: How many of the rows the champion was trained on, which flatters it; None where that
            is not known. It is said in the check and changes nothing.
        threads: Threads to work with.
        seed: Of the draws.

    Returns:
        The check: `value` is the challenger's metric less the champion's (`baseline`), `lower` and `upper`
        are the ends of its interval, and `min` or `max` what the interval as a whole has to lie beyond.

    Raises:
        UsageError: The tables are not about the same rows, or do not fit the classes.

    Example:
        >>> rows = pd.DataFrame({"actual": [1.0, 2.0, 3.0, 5.0] * 3, "predicted": [2.0, 4.0, 5.0, 6.0] * 3})
        >>> better = rows.assign(predicted=rows["actual"] + 0.5)
        >>> check = challenge(rows, better, PromotionConfig(), task="regression")
        >>> check.name, check.passed, check.upper < 0
        ('rmse_change', True, True)
    """
    if champion["actual"].tolist() != challenger["actual"].tolist():
        raise UsageError(
            "two models are compared by predictions of the same rows",
            got=f"{len(champion)} and {len(challenger)} rows with other actual values",
            hint="let the version in production predict the challenger's test rows, in their order",
        )
    tables = [_aligned(table, classes) for table in (champion, challenger)]
    metric = settings.metric or deciding_metric(task, *tables)
    found = paired_differences(
        *tables,
        task=task,
        classes=classes,
        positive_class=positive_class,
        metrics={metric},
        resamples=settings.resamples,
        level=settings.level,
        seed=seed,
        threads=threads,
    )
    difference = next((one for one in found if one.metric == metric), None)
    return _check(metric, difference, settings, rows=len(challenger), rows_trained_on=rows_trained_on)


def deciding_metric(task: Task, *tables: pd.DataFrame) -> str:
    """Return the metric that decides where the settings name none.

    For regression it is rmse, which squared-error fits minimise and whose optimum is the mean. For
    classification it is log_loss, a strictly proper scoring rule: no model can lower its expected value by
    saying other probabilities than it believes, and unlike accuracy it sees every row change and not only
    those that cross a cut-off, so that it tells models apart with fewer rows. ROC AUC would ignore
    probabilities that are all too high. Where a model gives no probabilities, accuracy is left.

    Source: Gneiting and Raftery (2007), "Strictly Proper Scoring Rules, Prediction, and Estimation", Journal
    of the American Statistical Association 102(477), section 3.

    Example:
        >>> deciding_metric("regression"), deciding_metric("classification", pd.DataFrame({"actual": ["a"]}))
        ('rmse', 'accuracy')
    """
    if task == "regression":
        return "rmse"
    has_probabilities = all(any(map(_is_probability, table.columns)) for table in tables)
    return "log_loss" if has_probabilities else "accuracy"


def _is_probability(column: object) -> bool:
    return str(column).startswith(_PROBABILITY)


def _aligned(table: pd.DataFrame, classes: Sequence[Label]) -> pd.DataFrame:
    """Return a table with the probabilities of the given classes, in their order, where it has any."""
    if not any(map(_is_probability, table.columns)):
        return table[["actual", "predicted"]]
    names = [f"{_PROBABILITY}{label}" for label in classes]
    return table.reindex(columns=["actual", "predicted", *names], fill_value=0.0)


def _check(
    metric: str,
    found: Difference | None,
    settings: PromotionConfig,
    *,
    rows: int,
    rows_trained_on: int | None,
) -> GateCheck:
    margin = settings.min_improvement * abs(found.first) if found else 0.0
    is_lower_better = metric in LOWER_IS_BETTER
    least, most = (None, 0.0 - margin) if is_lower_better else (margin, None)
    return GateCheck(
        name=f"{metric}_change",
        kind="change",
        metric=metric,
        value=found.difference if found else None,
        min=least,
        max=most,
        passed=found is not None and rows >= LEAST_ROWS and _is_beyond(found, least, most),
        rows=rows,
        baseline=found.first if found else None,
        lower=found.lower if found else None,
        upper=found.upper if found else None,
        level=settings.level,
        resamples=settings.resamples,
        note=_note(found, rows, rows_trained_on),
    )


def _is_beyond(found: Difference, least: float | None, most: float | None) -> bool:
    """Return whether the whole interval lies above `least`, or below `most`."""
    if found.lower is None or found.upper is None:
        return False
    return (least is None or found.lower > least) and (most is None or found.upper < most)


def _note(found: Difference | None, rows: int, rows_trained_on: int | None) -> str | None:
    if found is None:
        return "the metric is not defined for these rows and predictions"
    if rows < LEAST_ROWS:
        return f"{rows} rows are too few to tell better from lucky: it takes {LEAST_ROWS}"
    if rows_trained_on is None:
        return "it is not known how many of these rows the version in production was trained on"
    if rows_trained_on:
        return f"the version in production was trained on {rows_trained_on:,} of these {rows:,} rows"
    return None
