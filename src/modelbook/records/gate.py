"""What the gate asked of a model, and what it said."""

from enum import StrEnum
from typing import Literal

from modelbook.records.record import Record


class GateCheck(Record):
    """One question put to a model: a number held against its limits.

    Attributes:
        name: The check, as in "rmse_threshold", "rmse_slice[region=north]", "smoke_test" or "rmse_change".
        kind: `threshold`: a metric on all test rows. `slice`: the same on one group of them. `smoke_test`:
            the packaged model's predictions in a process of its own, beside the recorded ones. `change`: the
            metric less production's on the same rows.
        metric: The metric looked at.
        value: Its value on the rows looked at; None where there is none.
        min: The lower limit, itself accepted; of a change, what the whole interval has to lie above.
        max: The upper limit, itself accepted; of a change, what the whole interval has to lie below.
        passed: The answer; None where the question cannot be put to so few or such rows, which is neither.
        group: The rows of a slice, as in "region = north".
        rows: The test rows looked at.
        baseline: What the value is held beside: of a slice the metric on all test rows, of a change that of
            production.
        lower: The lower end of the interval for the value.
        upper: The upper end.
        level: The share of such intervals that hold the true value, in (0, 1).
        resamples: How often rows were drawn for the interval.
        note: What else there is to say: why it was not judged, what went wrong, what to bear in mind.
    """

    name: str
    kind: Literal["threshold", "slice", "smoke_test", "change"] = "threshold"
    metric: str
    value: float | None
    min: float | None
    max: float | None
    passed: bool | None
    group: str | None = None
    rows: int | None = None
    baseline: float | None = None
    lower: float | None = None
    upper: float | None = None
    level: float | None = None
    resamples: int | None = None
    note: str | None = None

    @property
    def answer(self) -> str:
        """The answer in words: kept, missed or not judged."""
        return {True: "kept", False: "missed", None: "not judged"}[self.passed]


class GateVerdict(StrEnum):
    """What the gate said of a model; `none` where nobody asked."""

    PASSED = "passed"
    REJECTED = "rejected"
    NONE = "none"


class GateDecision(Record):
    """The gate's verdict with the checks behind it."""

    verdict: GateVerdict
    checks: tuple[GateCheck, ...]

    @property
    def missed(self) -> tuple[GateCheck, ...]:
        """The checks that failed; those that were not judged are none of them."""
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def answers(self) -> dict[str, bool]:
        """The answers by check, of those that were judged."""
        return {check.name: check.passed for check in self.checks if check.passed is not None}

    @property
    def passed(self) -> bool:
        """Whether the model may be registered."""
        return self.verdict is not GateVerdict.REJECTED


class EvaluationReport(Record):
    """evaluation_report.json: what a run's model was worth, and what the gate said of it.

    Attributes:
        run_id: The run.
        uid: The same run's own id.
        metrics: The metrics on the test rows, without prefix.
        threshold_checks: The answers by check, of those that were judged.
        all_checks_passed: Whether every answer was yes.
        gate: The verdict with the numbers.
    """

    run_id: str
    uid: str
    metrics: dict[str, float]
    threshold_checks: dict[str, bool]
    all_checks_passed: bool
    gate: GateDecision
