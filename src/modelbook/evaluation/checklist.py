"""The gate's checks as the report shows them: a table, with each interval drawn beside its limits."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modelbook.evaluation.page import label_of
from modelbook.records import GateCheck

_MOST_ROWS = 60
_MOST_HEADLINES = 8
_MARGIN = 4.0  # percent of the width that stays free at each end


@dataclass(frozen=True)
class Whisker:
    """An interval in percent of the width, from the least to the greatest of what is drawn of a metric.

    Attributes:
        value: The value.
        lower: The lower end of its interval.
        upper: The upper end.
        limits: The limits.
        whole: The metric on all test rows, for a slice.
    """

    value: float
    lower: float
    upper: float
    limits: tuple[float, ...]
    whole: float | None


@dataclass(frozen=True)
class ChecklistRow:
    """One line of the table: the check, what it is about in words, and its drawing where there is one."""

    check: GateCheck
    label: str
    answer: str
    whisker: Whisker | None


def checklist(checks: Sequence[GateCheck]) -> list[ChecklistRow]:
    """Return the lines of the table, at most 60: what failed first, then what was not judged."""
    metrics = {check.metric for check in checks}
    scales = {name: _scale(check for check in checks if check.metric == name) for name in metrics}
    ordered = sorted(checks, key=lambda check: (check.passed is not False, check.passed is not None))
    return [
        ChecklistRow(check, label_of(check), check.answer, _whisker(check, scales[check.metric]))
        for check in ordered[:_MOST_ROWS]
    ]


def headlines(checks: Sequence[GateCheck]) -> list[GateCheck]:
    """Return the checks that stand beside the verdict: those of the whole model, and what failed."""
    whole = [check for check in checks if check.kind != "slice"]
    return [*whole, *(check for check in checks if check.kind == "slice" and check.passed is False)][
        :_MOST_HEADLINES
    ]


def _scale(checks: Iterable[GateCheck]) -> tuple[float, float] | None:
    """Return the least and the greatest number to draw of a metric; None where there are not two."""
    numbers = [
        number
        for check in checks
        if check.lower is not None
        for number in (check.value, check.lower, check.upper, check.min, check.max, check.baseline)
        if number is not None and math.isfinite(number)
    ]
    return (min(numbers), max(numbers)) if len({*numbers}) > 1 else None


def _whisker(check: GateCheck, scale: tuple[float, float] | None) -> Whisker | None:
    ends = (check.value, check.lower, check.upper)
    if scale is None or any(end is None or not math.isfinite(end) for end in ends):
        return None
    value, lower, upper = (_place(end, scale) for end in ends if end is not None)
    limits = [limit for limit in (check.min, check.max) if limit is not None and math.isfinite(limit)]
    is_slice = check.kind == "slice" and check.baseline is not None
    return Whisker(
        value=value,
        lower=lower,
        upper=upper,
        limits=tuple(_place(limit, scale) for limit in limits),
        whole=_place(check.baseline, scale) if is_slice and check.baseline is not None else None,
    )


def _place(number: float, scale: tuple[float, float]) -> float:
    share = (number - scale[0]) / (scale[1] - scale[0])
    return round(_MARGIN + (100 - 2 * _MARGIN) * share, 2)
