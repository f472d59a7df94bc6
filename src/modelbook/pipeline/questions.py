"""The questions that the stage `register` puts to a run's model, and the answers in words."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd
import polars as pl

from modelbook.config import Config
from modelbook.errors import GateRejectedError
from modelbook.evaluation.gate import check_thresholds, held_out_metrics
from modelbook.evaluation.slices import Judged, judge_slices, with_intervals
from modelbook.logs import PipelineLogger, format_number
from modelbook.pipeline import layout
from modelbook.pipeline.compare import positive_class
from modelbook.pipeline.smoke import smoke_test
from modelbook.records import GateCheck, GateDecision, RunMetadata

_SETTINGS = {
    "threshold": "evaluation.thresholds",
    "slice": "evaluation.gate.slices",
    "smoke_test": "evaluation.gate.smoke_test",
}


@contextmanager
def smoke_checks(config: Config, metadata: RunMetadata) -> Iterator[Callable[[], tuple[GateCheck, ...]]]:
    """Start the smoke test where the settings ask for one; what is yielded waits for it."""
    if not config.evaluation.gate.smoke_test:
        yield tuple
        return
    with smoke_test(config, metadata.model) as test:
        yield lambda: (test.check(),)


def check_run(config: Config, metadata: RunMetadata) -> tuple[GateCheck, ...]:
    """Return the checks of thresholds and slices for the run whose outputs lie in a project.

    Raises:
        ConfigError: A slice names a column that the test rows do not have, or cuts one that cannot be.
    """
    checks = check_thresholds(held_out_metrics(metadata.metrics), config)
    slices = config.evaluation.gate.slices
    if not checks and not slices:
        return ()
    judged = Judged(
        pd.read_parquet(config.path(layout.PREDICTIONS)),
        metadata.model.task,
        metadata.model.classes,
        positive_class(metadata),
    )
    columns = _columns(config, {part.column for part in slices})
    return (*with_intervals(checks, judged), *judge_slices(judged, columns, slices))


def _columns(config: Config, wanted: set[str]) -> dict[str, pd.Series]:
    """Return the wanted columns of the test rows, as far as there are such."""
    path = config.path(layout.TEST)
    present = sorted(wanted & set(pl.read_parquet_schema(path))) if wanted else []
    table = pl.read_parquet(path, columns=present).to_pandas() if present else pd.DataFrame()
    return {name: table[name] for name in present}


def say_verdict(gate: GateDecision, log: PipelineLogger) -> None:
    """Log each check with its number and limits, and the verdict."""
    for check in gate.checks:
        say = log.warning if check.passed is False else log.info
        say(f"{_said(check)}: {check.answer}")
    is_asked = any(check.kind != "smoke_test" for check in gate.checks)
    log.info(f"gate: {gate.verdict}" if is_asked else f"gate: {gate.verdict}, since no thresholds are set")


def _said(check: GateCheck) -> str:
    about = f"{_value(check)} ({_limits(check)})"
    return f"{about}, {check.note}" if check.note else about


def _value(check: GateCheck) -> str:
    return f"{_subject(check)} {'not measured' if check.value is None else format_number(check.value)}"


def _limits(check: GateCheck) -> str:
    parts = [f"at least {check.min:g}"] if check.min is not None else []
    return " and ".join(parts + ([f"at most {check.max:g}"] if check.max is not None else []))


def rejection(gate: GateDecision) -> GateRejectedError:
    """Return the error that a rejected model ends with: each failed check with its value and limits."""
    missed = gate.missed
    is_threshold = all(check.kind == "threshold" for check in missed)
    what = "the model misses a threshold" if is_threshold else "the model does not pass the gate"
    return GateRejectedError(
        f"{what}: it is recorded as rejected and not registered",
        where=", ".join(dict.fromkeys(_SETTINGS[check.kind] for check in missed)),
        got=", ".join(check.note or _value(check) for check in missed),
        expected=", ".join(f"{_subject(check)} {_limits(check)}" for check in missed),
        hint="improve the model, or change the threshold if it asks too much; see reports/report.html",
    )


def _subject(check: GateCheck) -> str:
    if check.kind == "smoke_test":
        return "smoke test: difference"
    return f"{check.metric} of {check.group}" if check.group else check.metric
