"""The records of a sweep: what its processes tell each other, what is kept of it, and what came of it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from modelbook.evaluation.difference import Difference
from modelbook.logs import format_number
from modelbook.records import DataVersion, Lineage, ModelRecord, Record

ChosenBy = Literal["cv", "validation", "test"]
TrialState = Literal["complete", "pruned", "failed"]

_STATES: tuple[TrialState, ...] = ("complete", "pruned", "failed")
_JUDGED = {
    "worse": "the difference is larger than its noise",
    "better": "there that one does better, beyond its noise",
    "the same": "there they do equally well",
    "not sure": "the difference is no larger than its noise",
}


class PreparedRows(Record):
    """Rows that trials are made on: the files, as a run of the pipeline would record them."""

    data: tuple[DataVersion, ...]


class TrialResult(Record):
    """What a trial came to.

    Attributes:
        started_at: When its fit began.
        ended_at: When everything about it was known.
        score: What it is judged by.
        params: What a run with its settings records as parameters.
        metrics: What a run with its settings records as metrics.
        further: Metrics that only a sweep measures, on training rows that were held back.
        folds: The mean score after each fold of cross-validation.
        is_pruned: Whether it was given up after a fold.
        model: The fitted model, which is not kept; None for a trial that was given up.
    """

    started_at: datetime
    ended_at: datetime
    score: float
    params: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    further: dict[str, float] = Field(default_factory=dict)
    folds: tuple[float, ...] = ()
    is_pruned: bool = False
    model: ModelRecord | None = None


class TrialRecord(Record):
    """trial.json: a trial as it is kept in logs/runs/<uid>, from which it can be entered into any store.

    Attributes:
        sweep_uid: The own id of the sweep's run.
        uid: Its run's own id, which follows from the sweep and its number.
        run_id: The id that the tracking store gave it; the uid before that.
        run_name: `<algorithm>_<YYYYmmdd_HHMMSS>_<number>`.
        number: Its number in the sweep, from 0.
        state: What became of it; `pruned` after a fold of cross-validation that promised nothing.
        point: The settings that were swept, each value as JSON.
        result: What it came to; None where it failed.
        error: Why it failed.
        started_at: When it began.
        ended_at: When it ended.
        lineage: What it comes from.
        is_entered: Whether the tracking store, or the outbox, has all of it.
    """

    sweep_uid: str
    uid: str
    run_id: str
    run_name: str
    number: int
    state: TrialState
    point: dict[str, str]
    result: TrialResult | None = None
    error: str | None = None
    started_at: datetime
    ended_at: datetime
    lineage: Lineage
    is_entered: bool = False


class SweepRecord(Record):
    """sweep.json: a sweep as it was begun.

    Attributes:
        sweep_id: A hash over what it searches, by what, and in what project.
        uid: Its run's own id.
        run_name: `sweep_<YYYYmmdd_HHMMSS>`.
        experiment: The experiment that it and its trials belong to.
        started_at: When it began.
        metric: The metric that trials are judged by.
        chosen_by: The rows that it is measured on for that.
        is_grid: Whether every point of a grid is tried.
        space: What is tried, as JSON.
        lineage: What the project was when it began.
    """

    sweep_id: str
    uid: str
    run_name: str
    experiment: str
    started_at: datetime
    metric: str
    chosen_by: ChosenBy
    is_grid: bool
    space: str
    lineage: Lineage

    @property
    def score_name(self) -> str:
        """The name of the metric that trials are judged by, as runs record it."""
        return f"cv_{self.metric}_mean" if self.chosen_by == "cv" else f"{self.chosen_by}_{self.metric}"


class SweepTrial(Record):
    """A trial as people see it.

    Attributes:
        number: Its number in the sweep, from 0.
        run_id: Its run.
        run_name: That run's name.
        state: What became of it.
        settings: The settings that were swept.
        score: What it is judged by; None where it failed.
        metrics: Its metrics.
        seconds: How long it took.
        error: Why it failed.
    """

    number: int
    run_id: str
    run_name: str
    state: TrialState
    settings: dict[str, Any]
    score: float | None
    metrics: dict[str, float]
    seconds: float
    error: str | None = None


class SweepOutcome(Record):
    """What a sweep came to.

    Attributes:
        sweep_id: Its id: logs/sweeps/<id> holds its study and its report.
        run_id: Its run, which the trials' runs are part of.
        run_name: That run's name.
        experiment: The experiment that they belong to.
        metric: The metric that trials are judged by, as runs record it.
        is_lower_better: Whether the smallest value is the best.
        chosen_by: The rows that it is measured on.
        trials: The trials, by number.
        asked: How many were asked for.
        best: The number of the best.
        runner_up: The number of the second best; None where there is none.
        difference: The best beside the runner-up on the test rows; None where these are not the same.
        importances: The share of each swept setting in the score, the largest first; empty for few trials.
        command: What makes the best one the project's own model.
        recorded: Where it is on record.
        report: Its report, as a path in the project.
    """

    sweep_id: str
    run_id: str
    run_name: str
    experiment: str
    metric: str
    is_lower_better: bool
    chosen_by: ChosenBy
    trials: tuple[SweepTrial, ...]
    asked: int
    best: int
    runner_up: int | None
    difference: Difference | None
    importances: dict[str, float]
    command: str
    recorded: Literal["mlflow", "outbox", "local"]
    report: str

    @property
    def best_trial(self) -> SweepTrial:
        """The best of the trials."""
        return next(trial for trial in self.trials if trial.number == self.best)

    @property
    def in_order(self) -> list[SweepTrial]:
        """The trials, the best first; behind the completed those that were given up, then the failed."""
        sign = 1 if self.is_lower_better else -1

        def rank(trial: SweepTrial) -> tuple[int, float, int]:
            return _STATES.index(trial.state), sign * (trial.score or 0.0), trial.number

        return sorted(self.trials, key=rank)

    @property
    def sentence(self) -> str:
        """Whether the best is better than the runner-up beyond chance, as a sentence."""
        if self.runner_up is None:
            return "No other trial was completed."
        found = self.difference
        if found is None or found.lower is None or found.upper is None:
            return f"It cannot be held against trial {self.runner_up}, the next: they have other test rows."
        interval = f"95 % interval {format_number(found.lower)} to {format_number(found.upper)}"
        by = f"{found.metric} differs by {format_number(found.difference)} ({interval})"
        judged = _JUDGED[found.judgement]
        return f"Held against trial {self.runner_up}, the next, on the test rows {by}: {judged}."

    @property
    def is_finished(self) -> bool:
        """Whether all trials that were asked for came to an end."""
        return len(self.trials) >= self.asked
