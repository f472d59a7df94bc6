"""A run of the pipeline: driven by DVC, stage by stage in this process, or without DVC."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modelbook.config import CONFIG_PATH, Config, load_config, set_values, spell
from modelbook.errors import GateRejectedError, ModelbookError, StoreAwayError, TrackingStoreError
from modelbook.files import storage_errors
from modelbook.logs import PipelineLogger
from modelbook.pipeline import layout
from modelbook.pipeline.check import check_project
from modelbook.pipeline.lock import hold_project
from modelbook.pipeline.packages import note_packages
from modelbook.pipeline.reasons import is_source_changed, reasons
from modelbook.pipeline.stages import STAGES, refuse_changed_settings, run_stage
from modelbook.pipeline.syncing import close_left_open, deliver_waiting
from modelbook.pipeline.workspace import dvc_errors, keep_dvc_out, mend_lock, track
from modelbook.records import (
    EvaluationReport,
    GateCheck,
    GateVerdict,
    ModelVersion,
    Record,
    RunMetadata,
    StageResult,
    StageStatus,
)
from modelbook.registry.promotion import mend_interrupted
from modelbook.registry.registry import ModelRegistry
from modelbook.tracking.lineage import command_line
from modelbook.tracking.outbox import outbox_of
from modelbook.tracking.store import knows, old_file_store

_NOT_ON_RECORD = ("the run is not on record",)


class RunModel(Record):
    """The model of a run: its name, and its versions in MLflow and locally where it has them."""

    name: str
    version: str | None
    local_version: str | None


class RunGate(Record):
    """What the gate said of a run: whether it lets the model pass, its verdict and its checks."""

    passed: bool
    verdict: GateVerdict
    checks: tuple[GateCheck, ...]


class RunOutcome(Record):
    """What a run of the pipeline came to.

    Attributes:
        run_id: The run that made the outputs, which may be an earlier one.
        run_name: Its name.
        experiment: Its experiment.
        model: Its model.
        metrics: Its metrics.
        gate: What the gate said of it.
        stages: What became of each stage.
        recorded: Where the run is on record.
    """

    run_id: str
    run_name: str
    experiment: str
    model: RunModel
    metrics: dict[str, float]
    gate: RunGate
    stages: tuple[StageResult, ...]
    recorded: str


def run_pipeline(
    root: Path,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    use_dvc: bool = True,
    force: bool = False,
    refresh: bool = False,
    is_waiting: bool = False,
) -> RunOutcome:
    """Bring every output of a project up to date and return what it came to.

    Args:
        root: The project's folder.
        settings: What to write into config.yaml first, as `set_values` takes it.
        use_dvc: Whether DVC decides what has to run; without it every stage runs.
        force: Whether every stage runs even if nothing changed.
        refresh: Whether a URL or a database is read again.
        is_waiting: Whether to wait while another run, or DVC by itself, is at work in the project.

    Raises:
        ConfigError: The settings are wrong.
        ProjectBusyError: Another run, or DVC by itself, is at work in the project.
        ModelbookError: A stage failed.
    """
    log = PipelineLogger("run")
    with hold_project(load_config(root), command=command_line(), is_waiting=is_waiting), ExitStack() as held:
        held.enter_context(keep_dvc_out(root, is_waiting=is_waiting))
        if use_dvc:
            mend_lock(root)
            held.close()  # DVC takes its lock by itself
        # Not before: another run may be reading the settings, or have changed them while this one waited.
        config = _configured(root, settings, log)
        if warning := old_file_store(config):
            log.warning(warning)
        check_project(config, use_dvc=use_dvc)
        mend_interrupted(config)
        is_away = deliver_waiting(config, log, is_project_held=True)
        if use_dvc:
            note_packages(config)
        bring_source(config, use_dvc=use_dvc, refresh=refresh)
        results: list[StageResult] = []
        with suppress(GateRejectedError):  # the outcome says so
            (_run_with_dvc if use_dvc else _run_all)(config, results, force=force)
            _ensure_recorded(config, results, log=log, is_away=is_away)
        return outcome(config, tuple(results))


def _configured(root: Path, settings: Mapping[str, str], log: PipelineLogger) -> Config:
    changes = set_values(root / CONFIG_PATH, settings) if settings else {}
    for key, (old, new) in changes.items():
        log.info(f"{CONFIG_PATH}: {key}: {spell(old)} → {spell(new)}")
    return load_config(root)


def outcome(config: Config, results: tuple[StageResult, ...] = ()) -> RunOutcome:
    """Return what the outputs that lie in a project came to.

    Raises:
        OSError: There are none.
    """
    metadata = RunMetadata.read(config.path(layout.METADATA))
    evaluation = EvaluationReport.read(config.path(layout.EVALUATION))
    name = config.tracking.model_name
    entry = ModelRegistry(config).of_digest(name, metadata.model.digest) if evaluation.gate.passed else None
    version = entry.mlflow_version if entry else None
    gate = evaluation.gate
    return RunOutcome(
        run_id=evaluation.run_id,
        run_name=metadata.run_name,
        experiment=config.tracking.experiment,
        model=RunModel(name=name, version=version, local_version=entry.version if entry else None),
        metrics=metadata.metrics,
        gate=RunGate(passed=gate.passed, verdict=gate.verdict, checks=gate.checks),
        stages=results,
        recorded=_where_recorded(config, metadata),
    )


def _where_recorded(config: Config, metadata: RunMetadata) -> str:
    """Return where a run is on record, after it was seen to that it is."""
    if not config.training.enable_mlflow:
        return "local"
    return "outbox" if outbox_of(config, metadata.uid).exists else "mlflow"


def bring_source(config: Config, *, use_dvc: bool, refresh: bool) -> None:
    """See to it that the project's own copy of the source is there and up to date, and DVC's record of it.

    What a URL or a database holds now is looked at with `refresh` alone; a file whenever it is there.

    Args:
        config: The project.
        use_dvc: Whether the copy is in DVC's care.
        refresh: Whether a URL or a database is read again.

    Raises:
        DataReadError: The source cannot be read.
        StorageError: The folder cannot be written or the disk is full.
    """
    raw = config.path(config.data.raw)
    is_anew = refresh or is_source_changed(config)
    if raw.exists() and not is_anew:
        return
    if use_dvc and not is_anew and raw.with_name(f"{raw.name}.dvc").is_file():
        _checkout(config, raw)
        return
    from modelbook.data.ingest import DataIngestor

    DataIngestor(config).snapshot(refresh=refresh)
    if use_dvc:
        track(config.root, raw)


def _checkout(config: Config, raw: Path) -> None:
    """Bring the table from DVC's cache, or else from the remote if there is one."""
    from dvc.exceptions import CheckoutError
    from dvc.repo import Repo

    with dvc_errors(raw), Repo(str(config.root)) as repo:
        try:
            repo.checkout([f"{raw}.dvc"])
        except CheckoutError:
            if not repo.config["core"].get("remote"):
                raise
            PipelineLogger("run").info(f"{config.data.raw} is not in DVC's cache: fetching it")
            repo.pull([f"{raw}.dvc"])


def _run_all(config: Config, results: list[StageResult], *, force: bool) -> None:
    why = ("it was forced" if force else "without DVC every stage runs",)
    for name in STAGES:
        with _timed(name, results, why=why) as executed:
            executed.append(name)
            run_stage(name, config, why=why)


@contextmanager
def _timed(name: str, results: list[StageResult], *, why: tuple[str, ...]) -> Iterator[list[str]]:
    """Add what becomes of a stage to the results, also when it fails; whoever executes it says so."""
    started = time.monotonic()
    executed: list[str] = []
    is_done = False
    try:
        yield executed
        is_done = True
    finally:
        status = StageStatus.RAN if executed or not is_done else StageStatus.RESTORED
        status = status if why or executed else StageStatus.CACHED
        seconds = round(time.monotonic() - started, 3)
        results.append(StageResult(name=name, status=status, seconds=seconds, why=why))


def _run_with_dvc(config: Config, results: list[StageResult], *, force: bool) -> None:
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.repo import Repo

    try:
        # DVC looks for the pipeline, and for its cache of runs, from the current folder.
        with dvc_errors(config.root), chdir(config.root), Repo() as repo:
            repo.reproduce(force=force, repro_fn=_reproducer(config, results))
    except ModelbookError as error:
        cause = error.__cause__
        if isinstance(cause, ReproductionError) and not isinstance(cause.__cause__, DvcException | None):
            with storage_errors(config.root):  # DVC's own files on a full disk
                raise cause.__cause__ from None
        raise


def _reproducer(config: Config, results: list[StageResult]) -> Callable[..., Any]:
    """Return what DVC is to do with each stage: as it always does, but in this process, and told."""
    log = PipelineLogger("run")

    def reproduce(stage: Any, *, upstream: Any = None, force: bool = False, **options: Any) -> Any:
        if getattr(stage, "name", None) not in STAGES:
            return _reproduce(stage, upstream=upstream, force=force, **options)
        must_run = force or stage.changed(allow_missing=False, upstream=upstream)
        why = (("it was forced",) if force else reasons(stage)) if must_run else ()
        with (
            _timed(stage.name, results, why=why) as executed,
            _in_this_process(config, executed, why=why),
        ):
            done = _reproduce(stage, upstream=upstream, force=force, **options)
        if why and not executed:
            log.info(f"{stage.name} came back from DVC's cache: {'; '.join(why)}")
        return done

    return reproduce


def _reproduce(stage: Any, **options: Any) -> Any:
    done = stage.reproduce(**options)
    if done:
        stage.dump(update_pipeline=False)
    return done


@contextmanager
def _in_this_process(config: Config, executed: list[str], *, why: tuple[str, ...]) -> Iterator[None]:
    """Let DVC run our own stages in this process instead of starting Python for each."""
    import dvc.stage.run

    original = dvc.stage.run.cmd_run

    def cmd_run(stage: Any, **options: Any) -> None:
        if stage.cmd != f"python -m modelbook stage {stage.name}":
            original(stage, **options)
            return
        executed.append(stage.name)
        run_stage(stage.name, config, why=why)
        refuse_changed_settings(config, stage=stage.name)

    dvc.stage.run.cmd_run = cmd_run
    try:
        yield
    finally:
        dvc.stage.run.cmd_run = original


def _ensure_recorded(
    config: Config, results: list[StageResult], *, log: PipelineLogger, is_away: bool
) -> None:
    """Enter the run anew where the store or the registry no longer knows what the outputs say.

    A store that was found to be away is not tried again: it held the run once, and cannot be asked now.
    """
    if results[-1].name == "register" and results[-1].status is StageStatus.RAN:
        return
    try:
        is_on_record = _is_on_record(config, is_away=is_away)
    except StoreAwayError:
        is_on_record, is_away = True, True
    if is_on_record and config.path(layout.REPORT).is_file():
        if not is_away:
            close_left_open(config, log)
        return
    log.warning("the run that made these outputs is not on record: entering it")
    results[:] = [result for result in results if result.name != "register"]
    with _timed("register", results, why=_NOT_ON_RECORD) as executed:
        executed.append("register")
        run_stage("register", config, why=_NOT_ON_RECORD)


def _is_on_record(config: Config, *, is_away: bool) -> bool:
    """Return whether store or outbox, and the local registry, hold the run whose outputs lie here.

    Raises:
        StoreAwayError: Only the store could tell, which does not answer.
    """
    metadata = RunMetadata.read(config.path(layout.METADATA))
    path = config.path(layout.EVALUATION)
    evaluation = EvaluationReport.read(path) if path.is_file() else None
    if evaluation is None or evaluation.uid != metadata.uid:
        return False
    name = config.tracking.model_name
    entry = ModelRegistry(config).of_digest(name, metadata.model.digest)
    if evaluation.gate.passed and entry is None:
        return False
    if not config.training.enable_mlflow or outbox_of(config, metadata.uid).exists:
        return True
    return _is_in_store(config, evaluation, entry, is_away=is_away)


def _is_in_store(
    config: Config, evaluation: EvaluationReport, entry: ModelVersion | None, *, is_away: bool
) -> bool:
    version = entry.mlflow_version if entry else None
    if (evaluation.gate.passed and version is None) or evaluation.run_id == evaluation.uid:
        return False  # no store gave either of them
    if is_away:
        raise StoreAwayError("the tracking store does not answer")
    name = config.tracking.model_name
    try:
        return knows(config, run_id=evaluation.run_id, model=name, version=version)
    except StoreAwayError:
        raise
    except TrackingStoreError:
        return False


def disable_telemetry() -> None:
    """Keep MLflow and DVC from reporting usage from this process and those that it starts."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DVC_NO_ANALYTICS"] = "true"
