"""Runs side by side: what differs in how they were made, and how sure the difference in their worth is."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from modelbook.config import Config, ConfigLike, load_config
from modelbook.errors import NotFoundError, UsageError
from modelbook.evaluation.difference import RESAMPLES, Difference
from modelbook.evaluation.gate import held_out_metrics
from modelbook.evaluation.resampling import paired_differences
from modelbook.logs import PipelineLogger
from modelbook.models.estimators import thread_count
from modelbook.pipeline.comparable import same_test_rows
from modelbook.pipeline.recorded import RecordedRun, find_recorded
from modelbook.records import Record, RunMetadata

_SHORT = 12


class ComparedRun(Record):
    """One of the runs.

    Attributes:
        run_id: Its id in the store.
        run_name: Its name.
        started_at: When it began.
        metrics: Its metrics on the test rows, without prefix.
        differences: Each metric beside the first run's, on the test rows that both have; empty for the first
            run and where the rows are others.
        incomparable: Why its metrics cannot be held against the first run's; None where they can.
    """

    run_id: str
    run_name: str
    started_at: datetime
    metrics: dict[str, float]
    differences: tuple[Difference, ...] = ()
    incomparable: str | None = None


class Contrast(Record):
    """Something that is not the same in all runs: its name, and its value in each of them."""

    name: str
    values: tuple[str | None, ...]


class RunComparison(Record):
    """Runs side by side, the first being what the others are held against.

    Attributes:
        runs: The runs, in the order asked for.
        settings: Parameters that differ.
        data: Data files that differ, by the beginning of their MD5.
        code: What differs in commit, uncommitted changes, by the beginning of their patch's hash, and
            the code that travels with the model.
        environment: Packages and machine that differ.
    """

    runs: tuple[ComparedRun, ...]
    settings: tuple[Contrast, ...]
    data: tuple[Contrast, ...]
    code: tuple[Contrast, ...]
    environment: tuple[Contrast, ...]

    @property
    def parts(self) -> dict[str, tuple[Contrast, ...]]:
        """What differs, by the words that people have for it."""
        return {
            "settings": self.settings,
            "data": self.data,
            "code": self.code,
            "environment": self.environment,
        }

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each run, by its id: what differs, metrics, and differences with their intervals.

        The columns are `run_name`, `metrics.<name>`, `difference.<name>`, `lower.<name>` and `upper.<name>`,
        and `settings.<name>`, `data.<name>`, `code.<name>` and `environment.<name>` for what differs.
        """
        rows = [_row(run) for run in self.runs]
        for part, contrasts in self.parts.items():
            for contrast in contrasts:
                for row, value in zip(rows, contrast.values, strict=True):
                    row[f"{part}.{contrast.name}"] = value
        return pd.DataFrame(rows, index=pd.Index([run.run_id for run in self.runs], name="run_id"))


@dataclass(frozen=True)
class Comparison:
    """What came of comparing runs.

    Attributes:
        record: All that was found.
        baseline: The first run.
        predictions: By a name for each run, what it predicted for the test rows that the first run has too.
    """

    record: RunComparison
    baseline: RunMetadata
    predictions: Mapping[str, pd.DataFrame]


def compare_runs(
    config: ConfigLike, refs: Sequence[str], *, resamples: int = RESAMPLES, is_alone_well: bool = False
) -> Comparison:
    """Hold runs against the first of them.

    Metrics are compared where both runs were tested on the same rows, by resampling those rows
    (`paired_differences`).

    Args:
        config: The project.
        refs: Two runs or more, as `find_recorded` takes them.
        resamples: How often the test rows are drawn.
        is_alone_well: Whether to show the others alone where there is no run of the first name yet.

    Raises:
        NotFoundError: There is no such run, or it was not made by the pipeline.
        UsageError: There are fewer than two runs.
    """
    project = load_config(config)
    if len(refs) < 2:  # noqa: PLR2004 (one run is no comparison)
        raise UsageError("a comparison takes two runs or more", got=f"{len(refs)}")
    log = PipelineLogger("compare")
    found = [*_measure(project, refs[0], is_alone_well=is_alone_well)]
    found += [find_recorded(project, ref, log) for ref in refs[1:]]
    first = found[0]
    reasons = [None, *(_incomparable(first, run) for run in found[1:])]
    runs = [
        _compared(first, run, reason=reason, project=project, resamples=resamples)
        for run, reason in zip(found, reasons, strict=True)
    ]
    alike = [run for run, reason in zip(found, reasons, strict=True) if reason is None]
    return Comparison(
        record=_record(runs, [run.metadata for run in found]),
        baseline=first.metadata,
        predictions={
            f"{run.run_id[:8]} {run.metadata.model.algorithm}": run.predictions.to_pandas()
            for run in alike
            if run.predictions is not None
        },
    )


def _measure(config: Config, ref: str, *, is_alone_well: bool) -> Iterator[RecordedRun]:
    """Yield the run that the others are held against, if there is one."""
    log = PipelineLogger("compare")
    try:
        yield find_recorded(config, ref, log)
    except NotFoundError as error:
        if not is_alone_well:
            raise
        log.info(f"{error.what}: {ref}")


def _record(runs: Iterable[ComparedRun], metadata: Sequence[RunMetadata]) -> RunComparison:
    return RunComparison(
        runs=tuple(runs),
        settings=_contrasts(metadata, _settings),
        data=_contrasts(metadata, _data),
        code=_contrasts(metadata, _code),
        environment=_contrasts(metadata, _environment),
    )


def _compared(
    first: RecordedRun, run: RecordedRun, *, reason: str | None, project: Config, resamples: int
) -> ComparedRun:
    is_held_against = run is not first and reason is None
    return ComparedRun(
        run_id=run.run_id,
        run_name=run.metadata.run_name,
        started_at=run.metadata.started_at,
        metrics=held_out_metrics(run.metadata.metrics),
        differences=_differences(first, run, project, resamples=resamples) if is_held_against else (),
        incomparable=reason,
    )


def _differences(
    first: RecordedRun, run: RecordedRun, project: Config, *, resamples: int
) -> tuple[Difference, ...]:
    tables = [side.predictions.to_pandas() for side in (first, run) if side.predictions is not None]
    found = paired_differences(
        *tables,
        task=first.metadata.model.task,
        classes=first.metadata.model.classes,
        positive_class=positive_class(first.metadata),
        resamples=resamples,
        threads=thread_count(project.training.n_jobs),
    )
    return tuple(found)


def positive_class(run: RunMetadata) -> str | int | bool | None:
    """Return the class that a run's binary metrics are about; None for the last in sorted order."""
    chosen: str | int | bool | None = run.lineage.config["evaluation"]["positive_class"]
    return chosen


def _incomparable(first: RecordedRun, run: RecordedRun) -> str | None:
    """Return why two runs cannot be held against each other row by row; None where they can."""
    one, other = first.metadata.model, run.metadata.model
    if one.task != other.task or one.target != other.target:
        return f"it predicts {other.target} ({other.task}), not {one.target} ({one.task})"
    if first.predictions is None or run.predictions is None:
        return "predictions on the test rows were not kept"
    is_same = first.predictions["actual"].equals(run.predictions["actual"])
    if not (is_same and same_test_rows(first.metadata.lineage, run.metadata.lineage)):
        return "it was tested on other rows"
    if one.classes != other.classes:
        return "it knows other classes"
    return None


def _contrasts(
    runs: Sequence[RunMetadata], read: Callable[[RunMetadata], Mapping[str, str | None]]
) -> tuple[Contrast, ...]:
    sides = [read(run) for run in runs]
    names = sorted({name for side in sides for name in side})
    lines = (Contrast(name=name, values=tuple(side.get(name) for side in sides)) for name in names)
    return tuple(line for line in lines if len(set(line.values)) > 1)


def _settings(run: RunMetadata) -> dict[str, str | None]:
    """Return a run's parameters, and its schema, which has too many columns to be among them."""
    schema = run.lineage.config.get("data", {}).get("schema", {})
    rules = {f"{column}.{name}": rule for column, own in schema.items() for name, rule in own.items()}
    return {**run.params, **{f"data.schema.{name}": str(rule) for name, rule in rules.items()}}


def _data(run: RunMetadata) -> dict[str, str | None]:
    return {version.path: version.md5[:_SHORT] for version in run.lineage.data}


def _code(run: RunMetadata) -> dict[str, str | None]:
    code = run.lineage.code
    files = {file.name: file.sha256[:_SHORT] for file in run.model.code}
    patch = hashlib.sha256(code.patch or b"").hexdigest()
    changes = f"differ from the commit by patch {patch[:_SHORT]}" if code.is_dirty else None
    return {"commit": code.commit and code.commit[:_SHORT], "code and settings": changes, **files}


def _environment(run: RunMetadata) -> dict[str, str | None]:
    lineage = run.lineage
    machine = {"python": lineage.environment.python, "platform": lineage.environment.platform}
    return {
        **lineage.environment.packages,
        **machine,
        "cpu": lineage.environment.cpu,
        "threads": str(lineage.threads),
    }


def _row(run: ComparedRun) -> dict[str, object]:
    row: dict[str, object] = {"run_name": run.run_name}
    row |= {f"metrics.{name}": value for name, value in run.metrics.items()}
    for found in run.differences:
        row |= {
            f"difference.{found.metric}": found.difference,
            f"lower.{found.metric}": found.lower,
            f"upper.{found.metric}": found.upper,
        }
    return row
