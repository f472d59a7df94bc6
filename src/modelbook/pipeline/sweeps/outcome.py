"""What a sweep came to: the best of its trials, how sure that is, and the report that shows it."""

import re
import shlex
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import orjson

from modelbook.errors import ModelbookError, NotFoundError
from modelbook.evaluation.difference import Difference
from modelbook.files import write_whole
from modelbook.pipeline.sweeps.recorder import kept_trial
from modelbook.pipeline.sweeps.records import SweepOutcome, SweepTrial, TrialRecord
from modelbook.pipeline.sweeps.space import Point, decoded
from modelbook.pipeline.sweeps.trials import SweepTrials

OUTCOME_FILE = "outcome.json"
REPORT_FILE = "report.html"

_WORD = re.compile(r"[A-Za-z_][\w-]*")
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off"})


def conclude(trials: SweepTrials, *, is_lower_better: bool) -> SweepOutcome:
    """Return what the trials came to, after closing the sweep's run with its report.

    Args:
        trials: The trials, as far as they came.
        is_lower_better: Whether the smallest score is the best.

    Raises:
        ModelbookError: No trial was completed.
        TrackingStoreError: The store refuses what it is told.
    """
    from modelbook.pipeline.sweeps.page import draw_figures, render_sweep  # with all that draws

    order = ranked(trials.records.values(), is_lower_better=is_lower_better)
    if not order:
        trials.recorder.settle()
        raise _none_complete(trials)
    with ThreadPoolExecutor(1) as pool:
        compared = pool.submit(_compare, trials, order)
        trials.recorder.settle()
        outcome = _outcome(trials, order, is_lower_better=is_lower_better)
        figures = draw_figures(outcome)
        outcome = outcome.model_copy(update={"difference": compared.result()})
    report = trials.folder / REPORT_FILE
    write_whole(report, render_sweep(outcome, trials.sweep, figures).encode())
    trials.recorder.close({f"best_{outcome.metric}": outcome.best_trial.score or 0.0}, report)
    outcome = outcome.model_copy(update={"recorded": _recorded(trials)})
    outcome.write(trials.folder / OUTCOME_FILE)
    return outcome


def run_command(point: Point) -> str:
    """Return what makes a trial's settings the project's own, as a shell takes it behind `modelbook`.

    Example:
        >>> run_command({"training.seed": "7", "features.numeric.scale": '"robust"'})
        'run --set training.seed=7 --set features.numeric.scale=robust'
    """
    words = [word for key, value in point.items() for word in ("--set", f"{key}={_as_yaml(value)}")]
    return shlex.join(["run", *words])


def ranked(records: Iterable[TrialRecord], *, is_lower_better: bool) -> list[TrialRecord]:
    """Return the completed trials, the best first; of equal ones the earlier."""
    sign = 1 if is_lower_better else -1

    def rank(record: TrialRecord) -> tuple[float, int]:
        return (sign * record.result.score if record.result else 0.0, record.number)

    return sorted((record for record in records if record.state == "complete"), key=rank)


def _compare(trials: SweepTrials, order: list[TrialRecord]) -> Difference | None:
    return trials.compare(order[0], order[1]) if len(order) > 1 else None


def _outcome(trials: SweepTrials, order: list[TrialRecord], *, is_lower_better: bool) -> SweepOutcome:
    sweep, records = trials.sweep, sorted(trials.records.values(), key=lambda record: record.number)
    return SweepOutcome(
        sweep_id=sweep.sweep_id,
        run_id=trials.recorder.run_id,
        run_name=sweep.run_name,
        experiment=sweep.experiment,
        metric=sweep.score_name,
        is_lower_better=is_lower_better,
        chosen_by=sweep.chosen_by,
        trials=tuple(_trial(kept_trial(trials.config, record.uid) or record) for record in records),
        asked=trials.asked,
        best=order[0].number,
        runner_up=order[1].number if len(order) > 1 else None,
        difference=None,
        importances=trials.study.importances(),
        command=run_command(order[0].point),
        recorded=_recorded(trials),
        report=(trials.folder / REPORT_FILE).relative_to(trials.config.root).as_posix(),
    )


def _trial(record: TrialRecord) -> SweepTrial:
    result = record.result
    return SweepTrial(
        number=record.number,
        run_id=record.run_id,
        run_name=record.run_name,
        state=record.state,
        settings=decoded(record.point),
        score=result.score if result else None,
        metrics=result.metrics | result.further if result else {},
        seconds=round((record.ended_at - record.started_at).total_seconds(), 3),
        error=record.error,
    )


def _recorded(trials: SweepTrials) -> Literal["mlflow", "outbox", "local"]:
    if not trials.config.training.enable_mlflow:
        return "local"
    return "mlflow" if trials.recorder.is_online else "outbox"


def _none_complete(trials: SweepTrials) -> ModelbookError:
    failed = [record for record in trials.records.values() if record.error]
    if not failed:
        return NotFoundError(
            "no trial came to an end in the time that there was",
            where="--timeout",
            hint="give it more time: the same command goes on with the trials that were begun",
        )
    return ModelbookError(
        f"all {len(failed)} trials failed",
        where=str(trials.folder.relative_to(trials.config.root)),
        got=f"trial {failed[0].number}: {failed[0].error}",
        hint="change what is tried, or mend what the first of them says; each is on record with its reason",
    )


def _as_yaml(value: str) -> str:
    """Return a value given as JSON as people would write it: words without quotes."""
    text = orjson.loads(value)
    is_word = isinstance(text, str) and _WORD.fullmatch(text) and text.lower() not in _YAML_WORDS
    return text if is_word else value
