"""A recorded run made again from what it was made of, and held against its record."""

import sys
from collections.abc import Iterator
from pathlib import Path, PurePath

import pandas as pd
import polars as pl
from ruamel.yaml import YAML

from modelbook.config import CONFIG_PATH, Config, load_config
from modelbook.errors import ConfigError, NotReproducedError, TrackingStoreError
from modelbook.evaluation.report import ReportContent, render_report
from modelbook.files import write_whole
from modelbook.logs import PipelineLogger
from modelbook.pipeline import layout
from modelbook.pipeline.recorded import RecordedRun, find_recorded
from modelbook.pipeline.recording import enter_run, parameters
from modelbook.pipeline.reproduction.again import run_again
from modelbook.pipeline.reproduction.environment import environment_changes, recorded_python
from modelbook.pipeline.reproduction.supply import bring_data
from modelbook.pipeline.reproduction.verdict import (
    Check,
    Verdict,
    changed_settings,
    compare_data,
    compare_outcomes,
    judge_outcomes,
)
from modelbook.pipeline.reproduction.worktree import recorded_worktree, replaced_files
from modelbook.records import (
    CodeState,
    EvaluationReport,
    GateDecision,
    GateVerdict,
    Lineage,
    ModelRecord,
    Record,
    RunMetadata,
    ValidationReport,
)
from modelbook.tracking.journal import REPORT_FILE, REPRODUCTION_FILE, keep_run
from modelbook.tracking.lineage import (
    CONFIG_FILE,
    command_line,
    lineage_files,
    read_environment,
    settings_yaml,
)
from modelbook.tracking.tracker import MLflowTracker

REPRODUCES_TAG = "modelbook.reproduces"
REPRODUCES_UID_TAG = "modelbook.reproduces.uid"
VERDICT_TAG = "modelbook.reproduction"

_SHORT = 12
_UNJUDGED = GateDecision(verdict=GateVerdict.NONE, checks=())


class Reproduction(Record):
    """What making a run again came to.

    Attributes:
        run_id: The recorded run.
        reproduced_run_id: The run that makes it again.
        verdict: What became of it.
        checks: What was compared.
        causes: What is not as it was recorded, each with both values; also where that changed nothing.
    """

    run_id: str
    reproduced_run_id: str
    verdict: Verdict
    checks: tuple[Check, ...]
    causes: tuple[str, ...]


def reproduce_run(root: Path, ref: str, *, use_recorded_environment: bool = False) -> Reproduction:
    """Make a recorded run again, from commit, changes, data, settings, seeds and threads, and compare.

    It is made in a git worktree in a temporary folder, and recorded as a run of its own that names the one
    it makes again. The project's files stay as they are but for its logs, and nothing is registered.

    Args:
        root: The project's folder.
        ref: A run's id, a unique beginning of one, `latest`, `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        use_recorded_environment: Whether to make it with the recorded packages, which uv installs.

    Raises:
        NotFoundError: There is no such run, or its commit, its data or its packages are not to be had.
        NotReproducedError: Its changes do not apply, or a stage fails that once did not.
        StorageError: A folder cannot be written or the disk is full.
    """
    config = load_config(root)
    log = PipelineLogger("reproduce", folder=config.path(layout.LOGS))
    recorded = find_recorded(config, ref, log)
    run = recorded.metadata
    log.info(f"making run {run.run_name} ({recorded.run_id}) again")
    python = _python(run.lineage, log, use_recorded=use_recorded_environment)
    code = run.lineage.code
    with recorded_worktree(config.root, code) as folder:
        log.info(f"code: commit {_code_name(code)}")
        made, causes = _make(config, recorded, folder, python=python, log=log)
        return _conclude(config, recorded, made, folder=folder, causes=causes, log=log)


def _python(lineage: Lineage, log: PipelineLogger, *, use_recorded: bool) -> Path:
    """Return the Python to make the run with, after saying in what its packages differ from the recorded."""
    for change in environment_changes(lineage.environment, read_environment()):
        log.warning(f"the environment differs from the recorded one: {change}")
    return recorded_python(lineage.environment, log=log) if use_recorded else Path(sys.executable)


def _make(
    config: Config, recorded: RecordedRun, folder: Path, *, python: Path, log: PipelineLogger
) -> tuple[RunMetadata, list[str]]:
    """Make the run in a folder, and return its record and what it was made of that is not as recorded."""
    run = recorded.metadata
    causes = [*recorded.faults, *_settings_changes(run.lineage, folder)]
    causes += [f"code: git shows {path} otherwise than it was committed" for path in _replaced(config, run)]
    raw = run.lineage.data[0]
    place = _place(raw.path)
    md5 = bring_data(config, raw, folder / place, log=log)
    if md5 != raw.md5:
        causes.append(f"data: {raw.path}: {raw.md5} → {md5}")
    for cause in causes:
        log.warning(f"not as it was recorded: {cause}")
    logs = config.path(layout.LOGS)
    run_again(python, folder, raw=place, threads=run.lineage.threads, logs=logs, outcome=run.outcome)
    made = RunMetadata.read(folder / layout.METADATA)
    return _with_recorded_settings(made, run, config=config, folder=folder), causes


def _replaced(config: Config, run: RunMetadata) -> tuple[str, ...]:
    return replaced_files(config.root, run.lineage.code.commit or "HEAD")


def _place(path: str) -> str:
    """Return where a table goes in the worktree: where it was, if that is inside the project."""
    pure = PurePath(path)
    is_inside = not pure.is_absolute() and ".." not in pure.parts
    return path if is_inside else f"data/raw/{pure.name}"


def _settings_changes(lineage: Lineage, folder: Path) -> list[str]:
    """Return the settings that the commit and its changes have otherwise than the record.

    Where they have none at all, as for a config.yaml that git does not hold, the recorded ones are put there.
    """
    content = lineage_files(lineage)[CONFIG_FILE]
    if not (folder / CONFIG_PATH).is_file():
        write_whole(folder / CONFIG_PATH, content)
    try:
        now = load_config(folder)
    except ConfigError as error:
        raise NotReproducedError(
            "this version of Modelbook does not take the recorded settings",
            where=str(CONFIG_PATH),
            got="; ".join(error.mistakes),
            hint="make it again with the recorded version: --env recorded",
        ) from error
    yaml = YAML(typ="safe", pure=True)
    settings = now.as_dict() if lineage.config_yaml is None else yaml.load(settings_yaml(now))
    return [f"config: {line}" for line in changed_settings(yaml.load(content), settings)]


def _with_recorded_settings(
    made: RunMetadata, run: RunMetadata, *, config: Config, folder: Path
) -> RunMetadata:
    """Return a record of what was made, under the settings and the code that it was made from.

    The stages ran with the recorded number of threads in place of `n_jobs`, without a store, and on the
    table as it lay there: that is how it was made, not what was asked for.
    """
    settings = load_config(folder)
    raw, *rest = made.lineage.data
    rows = {version.path: version.rows or 0 for version in rest}
    lineage = made.lineage.model_copy(
        update={
            "code": run.lineage.code,
            "data": (raw.model_copy(update={"path": run.lineage.data[0].path}), *rest),
            "config": settings.as_dict(),
            "config_sha256": settings.sha256,
            "config_yaml": settings_yaml(settings),
            "command": command_line(),
        }
    )
    params = made.params | parameters(settings, {}, rows=rows)
    update = {
        "lineage": lineage,
        "params": params,
        "experiment": config.tracking.experiment,
        "outcome": run.outcome,
    }
    return made.model_copy(update=update)


def _conclude(
    config: Config,
    recorded: RecordedRun,
    made: RunMetadata,
    *,
    folder: Path,
    causes: list[str],
    log: PipelineLogger,
) -> Reproduction:
    """Compare what was made with the record, and put it on record with the verdict."""
    run = recorded.metadata
    predictions = recorded.predictions, pl.read_parquet(folder / layout.PREDICTIONS)
    code_changes = list(_code_changes(run.model, made.model))
    outcomes = compare_outcomes(run, made, predictions=predictions)
    is_same_source = not causes and not code_changes
    verdict = judge_outcomes(outcomes, predictions, is_same_source=is_same_source)
    sources = [*compare_data(run, made), *_source_checks(run, made, [*causes, *code_changes])]
    found = (
        *causes,
        *code_changes,
        *_missing(recorded),
        *environment_changes(run.lineage.environment, made.lineage.environment),
    )
    result = Reproduction(
        run_id=recorded.run_id,
        reproduced_run_id=made.uid,
        verdict=verdict,
        checks=(*sources, *outcomes),
        causes=found or _unexplained(verdict),
    )
    return _enter(config, recorded, made, result=result, folder=folder, log=log)


def _source_checks(run: RunMetadata, made: RunMetadata, causes: list[str]) -> Iterator[Check]:
    """Yield the checks of settings, code and record: unequal where a cause was found."""
    changed = {cause.partition(":")[0] for cause in causes}
    same = "config" not in changed
    hashes = run.lineage.config_sha256, made.lineage.config_sha256
    yield Check(name="config", recorded=hashes[0], reproduced=hashes[0] if same else hashes[1], equal=same)
    name = _code_name(run.lineage.code)
    said = name if "code" not in changed else f"{name}, changed"
    yield Check(name="code", recorded=name, reproduced=said, equal="code" not in changed)
    if "record" in changed:
        yield Check(name="record", recorded="whole", reproduced="contradicts itself", equal=False)


def _code_name(code: CodeState) -> str:
    return f"{(code.commit or '')[:_SHORT]}{' with uncommitted changes' if code.is_dirty else ''}"


def _code_changes(recorded: ModelRecord, made: ModelRecord) -> Iterator[str]:
    """Yield each file of the user's that travels with the model and is another now."""
    ours = "modelbook_"  # those are Modelbook's, whose version is among the packages
    old, new = (
        {file.name.rpartition("_")[0]: file.sha256 for file in model.code if not file.name.startswith(ours)}
        for model in (recorded, made)
    )
    for stem in sorted({*old, *new}):
        if old.get(stem) != new.get(stem):
            yield f"code: {stem}.py: {_short(old.get(stem))} → {_short(new.get(stem))}"


def _short(sha256: str | None) -> str:
    return sha256[:_SHORT] if sha256 else "absent"


def _missing(recorded: RecordedRun) -> Iterator[str]:
    """Yield what the record does not have."""
    code = recorded.metadata.lineage.code
    if recorded.predictions is None:
        yield "predictions: the record has none that can be read, so they are not compared"
    if code.is_dirty and not code.patch:
        yield "code: the run had changes that were not committed, and they were not recorded"
    for path in code.patch_omitted:
        yield f"code: {path} was not committed, and was too large to be recorded, or git could not read it"


def _unexplained(verdict: Verdict) -> tuple[str, ...]:
    if verdict is Verdict.IDENTICAL:
        return ()
    cause = "code that draws from a generator of its own, without a seed, does that"
    return (f"nothing was found that is not as it was recorded: {cause}",)


def _enter(
    config: Config,
    recorded: RecordedRun,
    made: RunMetadata,
    *,
    result: Reproduction,
    folder: Path,
    log: PipelineLogger,
) -> Reproduction:
    """Put the new run on record, in the journal and in the project's store, and return what it came to."""
    tracker = MLflowTracker(config)
    run_id = tracker.start_run(made.run_name, lineage=made.lineage, started_at=made.started_at)
    made = made.model_copy(update={"uid": tracker.uid, "run_id": run_id})
    made.write(folder / layout.METADATA)
    result = result.model_copy(update={"reproduced_run_id": run_id})
    kept = _keep(config, recorded, made, result=result, folder=folder)
    try:
        tracker.set_tags(_tags(recorded, result))
        enter_run(tracker, made, load_config(folder))
        for name in (REPORT_FILE, REPRODUCTION_FILE):
            tracker.log_artifact(kept / name)
        tracker.end_run(ended_at=made.ended_at)
    except TrackingStoreError as error:
        log.warning(f"{error.what} ({error.got}): the new run is kept in {kept}")
    log.info(f"verdict: {result.verdict}")
    return result


def _tags(recorded: RecordedRun, result: Reproduction) -> dict[str, str]:
    return {
        REPRODUCES_TAG: recorded.run_id,
        REPRODUCES_UID_TAG: recorded.metadata.uid,
        VERDICT_TAG: result.verdict,
    }


def _keep(
    config: Config, recorded: RecordedRun, made: RunMetadata, *, result: Reproduction, folder: Path
) -> Path:
    """Enter the new run into the project's journal, and return its folder there."""
    predictions = folder / layout.PREDICTIONS
    evaluation = EvaluationReport(
        run_id=made.run_id,
        uid=made.uid,
        metrics={
            name.removeprefix("test_"): value for name, value in made.metrics.items() if "test_" in name
        },
        threshold_checks={},
        all_checks_passed=True,
        gate=_UNJUDGED,
    )
    plots = (folder / layout.PLOTS).iterdir()
    report = render_report(
        ReportContent(
            metadata=made,
            gate=_UNJUDGED,
            predictions=pd.read_parquet(predictions),
            plots=tuple(sorted(path for path in plots if path.suffix in {".png", ".txt"})),
            validation=ValidationReport.read(folder / layout.VALIDATION),
            previous=recorded.metadata,
        )
    )
    kept = keep_run(config, made, evaluation=evaluation, report=report, predictions=predictions)
    result.write(kept / REPRODUCTION_FILE)
    return kept
