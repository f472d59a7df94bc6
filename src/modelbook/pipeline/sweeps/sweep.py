"""A sweep: many settings tried on the same project, each trial on record, and which of them is best."""

import hashlib
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import orjson

from modelbook.config import CONFIG_PATH, METRICS, Config, load_config, propose_changes
from modelbook.config.settings import read_text
from modelbook.errors import ModelbookError, StoreAwayError, UsageError
from modelbook.evaluation.gate import LOWER_IS_BETTER
from modelbook.files import file_hash, storage_errors
from modelbook.logs import STAMP, PipelineLogger, now
from modelbook.pipeline.lock import hold_project
from modelbook.pipeline.run import bring_source
from modelbook.pipeline.sweeps.outcome import OUTCOME_FILE, conclude
from modelbook.pipeline.sweeps.recorder import SweepRecorder, import_libraries
from modelbook.pipeline.sweeps.records import ChosenBy, SweepOutcome, SweepRecord
from modelbook.pipeline.sweeps.space import (
    Choice,
    Range,
    Space,
    default_space_of,
    dump_space,
    points_of,
    probes_of,
    slowest_first,
)
from modelbook.pipeline.sweeps.study import SweepStudy
from modelbook.pipeline.sweeps.trials import ROWS_FOLDER, SweepTrials, code_hash
from modelbook.pipeline.sweeps.worker import Worker
from modelbook.pipeline.syncing import close_left_open, deliver_waiting
from modelbook.tracking.lineage import command_line, read_lineage
from modelbook.tracking.store import knows

FOLDER = "logs/sweeps"

_RECORD_FILE = "sweep.json"
_STUDY_FILE = "study.db"
_ID_LENGTH = 12


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What to search, and for how long.

    Attributes:
        space: What to try; None takes the default space of the chosen algorithm.
        trials: How many points TPE is to choose; None tries every point of a grid.
        metric: The metric to judge by; None takes RMSE, or accuracy.
        timeout_s: How long it may take once it holds the project; None takes the time that it needs.
    """

    space: dict[str, Choice | Range] | None = None
    trials: int | None = None
    metric: str | None = None
    timeout_s: float | None = None


def run_sweep(root: Path, plan: SweepPlan, *, is_waiting: bool = False) -> SweepOutcome:
    """Try what a plan says, or go on with it where the same one was interrupted, and return what it came to.

    Trials leave the project's settings, outputs and registries alone. What a sweep is, is said by what it
    searches and by the project's settings, raw data and features.py: with all of these the same it is gone
    on with, and one that is done is not done again.

    Args:
        root: The project's folder.
        plan: What to search.
        is_waiting: Whether to wait while another run holds the project.

    Raises:
        ConfigError: The settings, or a value to be tried, are not accepted.
        ProjectBusyError: Another run holds the project.
        UsageError: The plan makes no sense.
        ModelbookError: Every trial failed, or none came to an end in time.
    """
    log = PipelineLogger("sweep", folder=load_config(root).path("logs"))
    with hold_project(load_config(root), command=command_line(), is_waiting=is_waiting):
        began = time.monotonic()
        # Not before: another run may have changed the settings while this one waited.
        config = load_config(root)
        text = read_text(config.path(CONFIG_PATH))
        search = _search(config, text, plan)
        bring_source(config, use_dvc=config.path(".dvc").is_dir(), refresh=False)
        deliver_waiting(config, log)
        close_left_open(config, log)
        folder = config.path(FOLDER) / _sweep_id(config, search)
        if (done := _done(config, folder, asked=search.asked)) is not None:
            log.info(f"nothing changed since this sweep was done: its {len(done.trials)} trials stand")
            return done
        deadline = None if plan.timeout_s is None else began + plan.timeout_s
        return _run(config, search, folder=folder, deadline=deadline, log=log)


@dataclass(frozen=True, kw_only=True)
class _Search:
    """A plan, seen through.

    Attributes:
        text: What config.yaml says.
        code: The hash of features.py; None where there is none.
        probes: What it would say for points that have every value, and both ends of each range.
        space: What to try.
        is_grid: Whether every point is tried.
        asked: The number of trials.
        metric: The metric to judge by.
        chosen_by: The rows that it is measured on.
    """

    text: str
    code: str | None
    probes: tuple[str, ...]
    space: Space
    is_grid: bool
    asked: int
    metric: str
    chosen_by: ChosenBy


def _search(config: Config, text: str, plan: SweepPlan) -> _Search:
    """Return what a plan comes to in a project; keys and values that it does not take are refused here."""
    known = METRICS[config.project.task]
    metric = plan.metric or known[0]
    if metric not in known:
        what = f"{config.project.task} has no such metric"
        raise UsageError(what, where="--metric", got=metric, expected=", ".join(known))
    space = plan.space or default_space_of(config)
    if plan.trials is None:
        space = slowest_first(space)
    path = config.path(CONFIG_PATH)
    probes = [propose_changes(text, point, path=path) for point in probes_of(space)]
    kinds = {_chosen_by(probe.config, is_grid=plan.trials is None) for probe in probes}
    if len(kinds) > 1:
        raise UsageError(
            "the trials would not be judged by the same rows",
            where="training.cv_folds",
            expected="cross-validation in all of them or in none",
        )
    return _Search(
        text=text,
        code=code_hash(config),
        probes=tuple(probe.text for probe in probes),
        space=space,
        is_grid=plan.trials is None,
        asked=len(points_of(space)) if plan.trials is None else plan.trials,
        metric=metric,
        chosen_by=kinds.pop(),
    )


def _chosen_by(config: Config, *, is_grid: bool) -> ChosenBy:
    """Return what trials are judged by: never the test rows where the next trial depends on it."""
    if config.training.cv_folds:
        return "cv"
    return "test" if is_grid else "validation"


def _sweep_id(config: Config, search: _Search) -> str:
    """Return a hash of all that makes a sweep what it is, but for the number of its trials."""
    content = [
        dump_space(search.space),
        search.is_grid,
        search.metric,
        config.sha256,
        file_hash(config.path(config.data.raw), "md5"),
        search.code,
    ]
    return hashlib.sha256(orjson.dumps(content)).hexdigest()[:_ID_LENGTH]


def _done(config: Config, folder: Path, *, asked: int) -> SweepOutcome | None:
    """Return what the sweep came to, where nothing of it is left to do and the store still knows it."""
    path = folder / OUTCOME_FILE
    outcome = SweepOutcome.read(path) if path.is_file() else None
    if outcome is None or outcome.asked < asked or not outcome.is_finished:
        return None
    if outcome.recorded == "mlflow":
        with suppress(StoreAwayError):  # it was there once, and cannot be asked now
            if not knows(config, run_id=outcome.run_id, model=config.tracking.model_name, version=None):
                return None
    return outcome


def _run(
    config: Config, search: _Search, *, folder: Path, deadline: float | None, log: PipelineLogger
) -> SweepOutcome:
    """Make the trials that are missing, and say what all of them came to."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _first_worker(config, folder) as worker:
        is_lower_better = search.metric in LOWER_IS_BETTER
        study = SweepStudy(
            folder / _STUDY_FILE,
            space=search.space,
            points=points_of(search.space) if search.is_grid else None,
            is_lower_better=is_lower_better,
            seed=config.training.seed,
        )
        Thread(target=import_libraries, args=(config,), daemon=True).start()
        worker.order("check", {"texts": search.probes, "path": str(config.path(CONFIG_PATH))})
        sweep = _record(config, search, folder)
        _say_beginning(sweep, search, done=len(study.ended), log=log)
        with _recording(config, sweep) as recorder:
            trials = SweepTrials(
                config,
                worker,
                sweep=sweep,
                text=search.text,
                code=search.code,
                folder=folder,
                study=study,
                recorder=recorder,
                asked=search.asked,
                log=log,
            )
            with closing(trials):
                trials.make(deadline=deadline)
                return conclude(trials, is_lower_better=is_lower_better)


@contextmanager
def _first_worker(config: Config, folder: Path) -> Iterator[Worker]:
    """Start a process to make trials: what it imports takes seconds, in which this one has things to do."""
    worker = Worker(config.root, folder / "worker_0.log")
    try:
        yield worker
    finally:
        worker.close()
        shutil.rmtree(folder / ROWS_FOLDER, ignore_errors=True)


def _record(config: Config, search: _Search, folder: Path) -> SweepRecord:
    """Return the sweep as it was begun, now or before."""
    path = folder / _RECORD_FILE
    if path.is_file():
        return SweepRecord.read(path)
    started_at = now()
    sweep = SweepRecord(
        sweep_id=folder.name,
        uid=uuid.uuid4().hex,
        run_name=f"sweep_{started_at.strftime(STAMP)}",
        experiment=config.tracking.experiment,
        started_at=started_at,
        metric=search.metric,
        chosen_by=search.chosen_by,
        is_grid=search.is_grid,
        space=dump_space(search.space),
        lineage=read_lineage(config, data=(config.data.raw,), rows={}, threads=1, command=command_line()),
    )
    sweep.write(path)
    return sweep


@contextmanager
def _recording(config: Config, sweep: SweepRecord) -> Iterator[SweepRecorder]:
    """Have trials put on record, and the sweep's own run closed however this ends."""
    recorder = SweepRecorder(config, sweep)
    try:
        yield recorder
    except BaseException as error:
        with suppress(ModelbookError):  # what went wrong first is what the user is to see
            recorder.abandon("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        raise


def _say_beginning(sweep: SweepRecord, search: _Search, *, done: int, log: PipelineLogger) -> None:
    how = "every point of the grid" if search.is_grid else "chosen by TPE"
    log.info(f"sweep {sweep.sweep_id}: {search.asked} trials, {how}, judged by {sweep.score_name}")
    if done:
        log.info(f"{done} of them are done: going on with the others")
    if sweep.chosen_by == "test":
        log.info(
            "the best by test rows is flattered by having been chosen by them: "
            "training.cv_folds has it chosen by cross-validation"
        )
