"""The trials of a sweep, made in several processes at once, each as soon as there is one for it."""

import hashlib
import platform
import shutil
import threading
import time
import uuid
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from modelbook.config import CONFIG_PATH, Config, Proposal, propose_changes
from modelbook.errors import ModelbookError, StorageError, UsageError
from modelbook.evaluation.difference import Difference
from modelbook.features.code import USER_CODE
from modelbook.files import file_hash
from modelbook.logs import STAMP, PipelineLogger, format_number, now
from modelbook.pipeline.comparable import same_test_rows
from modelbook.pipeline.reproduction.environment import environment_changes
from modelbook.pipeline.sweeps.recorder import SweepRecorder, kept_trial
from modelbook.pipeline.sweeps.records import PreparedRows, SweepRecord, TrialRecord, TrialResult
from modelbook.pipeline.sweeps.space import describe_point
from modelbook.pipeline.sweeps.study import Asked, SweepStudy
from modelbook.pipeline.sweeps.worker import Worker, WorkerGoneError
from modelbook.records import Lineage
from modelbook.tracking import journal
from modelbook.tracking.lineage import command_line, read_code_state, read_environment, settings_yaml

ROWS_FOLDER = "rows"

_MOST_WORKERS = 8
_TRIALS_A_WORKER = 3


class SweepTrials:
    """Makes the trials that a study asks for, keeps them, and remembers what became of each.

    Args:
        config: The project.
        worker: The first process, which has begun already; others are started as there is use for them.
        sweep: The sweep.
        text: What config.yaml said when it began.
        code: The hash of features.py then; None where there is none.
        folder: The sweep's folder.
        study: Says what to try.
        recorder: Puts trials on record.
        asked: How many trials there are to be.
        log: What goes on is said here.

    Attributes:
        records: The trials that came to an end, by number.
    """

    def __init__(
        self,
        config: Config,
        worker: Worker,
        *,
        sweep: SweepRecord,
        text: str,
        code: str | None,
        folder: Path,
        study: SweepStudy,
        recorder: SweepRecorder,
        asked: int,
        log: PipelineLogger,
    ) -> None:
        self.config, self.sweep, self.folder = config, sweep, folder
        self.study, self.recorder, self.asked = study, recorder, asked
        self.records: dict[int, TrialRecord] = {}
        self._now = _lineage_now(sweep, log)
        self._text, self._code, self._log = text, code, log
        self._prepared: dict[str, PreparedRows] = {}
        self._deciding, self._preparing = threading.Lock(), threading.Lock()
        self._lost: set[int] = set()
        self._is_stopping = False
        self._threads = 1
        self._workers = [worker]

    def make(self, *, deadline: float | None) -> None:
        """Make every trial that is missing, or as many as there is time for.

        Args:
            deadline: When to stop, by the clock of `time.monotonic`.

        Raises:
            StorageError: The disk is full, or a folder cannot be written.
            TrackingStoreError: The store refuses what it is told.
        """
        self._restore()
        count, self._threads = divide_cores(self.config, self.asked - len(self.records))
        self._workers += [self._started(number) for number in range(1, count)]
        pool = ThreadPoolExecutor(count)
        futures = [pool.submit(self._work, place) for place in range(count)]
        try:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, going = wait(futures, timeout=left_s, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            if going:
                self._log.warning("the time is up: the same command goes on where this one stops")
        finally:
            self._is_stopping = True
            keeps_first = all(future.done() for future in futures)
            for worker in self._workers[keeps_first:]:
                worker.end()
            pool.shutdown()

    def close(self) -> None:
        """End the processes that make trials."""
        for worker in self._workers:
            worker.close()

    def compare(self, first: TrialRecord, second: TrialRecord) -> Difference | None:
        """Return what the second's metric is above the first's on the test rows, if they have the same."""
        models = [record.result.model for record in (first, second) if record.result and record.result.model]
        folder = self.config.path(journal.FOLDER)
        content = {
            "predictions": [
                str(folder / record.uid / journal.PREDICTIONS_FILE) for record in (first, second)
            ],
            "task": models[0].task,
            "classes": models[0].classes,
            "positive_class": self.config.evaluation.positive_class,
            "threads": self._threads,
            "metric": self.sweep.metric,
        }
        has_same_rows = same_test_rows(first.lineage, second.lineage)
        if not has_same_rows or {model.classes for model in models} != {models[0].classes}:
            return None
        if not self._workers[0].is_alive:
            self._workers[0].close()
            self._workers[0] = self._started(0)
        try:
            answer = self._workers[0].order("compare", content)
        except (ModelbookError, WorkerGoneError) as error:
            self._log.warning(f"the two best trials could not be compared: {error}")
            return None
        return Difference.model_validate_json(answer) if answer else None

    def _restore(self) -> None:
        """Take up the trials that ended, and enter those that the store may not have."""
        shutil.rmtree(self.folder / ROWS_FOLDER, ignore_errors=True)
        for number in self.study.ended:
            record = kept_trial(self.config, self._uid(number))
            if record is not None:
                self.records[number] = record
                self.recorder.enter(record)

    def _started(self, number: int) -> Worker:
        return Worker(self.config.root, self.folder / f"worker_{number}.log")

    def _uid(self, number: int) -> str:
        return uuid.uuid5(uuid.UUID(self.sweep.uid), str(number)).hex

    def _work(self, place: int) -> None:
        """Make one trial after the other until there are no more."""
        while True:
            with self._deciding:
                asked = None if self._is_stopping else self.study.ask(self.asked)
            if asked is None:
                return
            record = kept_trial(self.config, self._uid(asked.number)) or self._made(asked, place)
            if record is None:
                continue
            self._refuse_other_code()
            with self._deciding:
                self._keep(record)

    def _refuse_other_code(self) -> None:
        """Stop where features.py was edited: which of the two a trial was made with cannot be told."""
        if code_hash(self.config) != self._code:
            raise UsageError(
                f"{USER_CODE} was changed while the sweep was made: its trials would not be of one project",
                where=str(self.config.path(USER_CODE)),
                hint="with the former file the same command goes on; with this one it is another sweep",
            )

    def _keep(self, record: TrialRecord) -> None:
        """Keep a trial that ended, and only then stop where the store takes no more."""
        self.recorder.keep(record)
        result = record.result
        is_pruned = record.state == "pruned"
        self.study.tell(record.number, result.score if result else None, is_pruned=is_pruned)
        self.records[record.number] = record
        self._say(record)
        self.recorder.raise_error()

    def _made(self, asked: Asked, place: int) -> TrialRecord | None:
        """Return the record of a trial made now; None where its process ended before it was done."""
        started_at, path = now(), self.config.path(CONFIG_PATH)
        lineage = self._now
        try:
            proposal = propose_changes(self._text, asked.point, path=path)
            prepared = self._rows(proposal, self._workers[place])
            lineage = self._lineage(proposal, prepared)
            result = self._result(asked, proposal, self._workers[place])
        except StorageError:
            raise
        except WorkerGoneError as error:
            if self._is_stopping:
                return None
            self._workers[place].close()
            self._workers[place] = self._started(place)
            if asked.number not in self._lost:
                self._put_off(asked, error)
                return None
            return self._failed(asked, f"{error}", started_at=started_at, lineage=lineage)
        except ModelbookError as error:
            said = "; ".join(filter(None, (error.what, error.where, error.got or _mistakes(error))))
            return self._failed(asked, said, started_at=started_at, lineage=lineage)
        return self._recorded(asked, proposal, result, lineage=lineage)

    def _put_off(self, asked: Asked, error: WorkerGoneError) -> None:
        """Leave a trial for the end: what killed its process may have been the memory that others took."""
        self._lost.add(asked.number)
        with self._deciding:
            self.study.put_off(asked.number)
        self._log.warning(f"trial {asked.number}: {error}: it is tried once more after the others")

    def _rows(self, proposal: Proposal, worker: Worker) -> PreparedRows:
        """Return the rows that a trial is made on, laid down once for all trials on the same."""
        key = _rows_key(proposal.config)
        if key not in self._prepared:
            with self._preparing:
                if key not in self._prepared:
                    content = {**self._named(proposal), "folder": str(self.folder / ROWS_FOLDER / key)}
                    answer = worker.order("prepare", content)
                    self._prepared[key] = PreparedRows.model_validate_json(answer)
        return self._prepared[key]

    def _result(self, asked: Asked, proposal: Proposal, worker: Worker) -> TrialResult:
        config, rows = proposal.config, _rows_key(proposal.config)
        kept = self.config.path(journal.FOLDER) / self._uid(asked.number) / journal.PREDICTIONS_FILE
        content = {
            **self._named(proposal),
            "folder": str(self.folder / ROWS_FOLDER / rows),
            "features_key": _features_key(config, rows),
            "threads": self._threads,
            "metric": self.sweep.metric,
            "chosen_by": self.sweep.chosen_by,
            "predictions": str(kept),
        }

        def on_fold(fold: int, score: float) -> bool:
            with self._deciding:
                return self.study.report(asked.number, step=fold, score=score)

        return TrialResult.model_validate_json(worker.order("make", content, on_fold=on_fold))

    def _named(self, proposal: Proposal) -> dict[str, str]:
        return {"text": proposal.text, "path": str(self.config.path(CONFIG_PATH))}

    def _lineage(self, proposal: Proposal, prepared: PreparedRows) -> Lineage:
        """Return what a trial comes from: the project as it is, but for its own settings."""
        config = proposal.config
        replaced = {CONFIG_PATH.as_posix(): proposal.text.encode()}
        update = {
            "code": read_code_state(self.config.root, replaced=replaced),
            "data": prepared.data,
            "config": config.as_dict(),
            "config_sha256": config.sha256,
            "config_yaml": settings_yaml(config),
            "seeds": {"split": config.split.seed, "training": config.training.seed},
            "threads": self._threads,
        }
        return self._now.model_copy(update=update)

    def _recorded(
        self, asked: Asked, proposal: Proposal, result: TrialResult, *, lineage: Lineage
    ) -> TrialRecord:
        uid = self._uid(asked.number)
        return TrialRecord(
            sweep_uid=self.sweep.uid,
            uid=uid,
            run_id=uid,
            run_name=_run_name(proposal.config.model.algorithm, result.started_at, asked.number),
            number=asked.number,
            state="pruned" if result.is_pruned else "complete",
            point=dict(asked.point),
            result=result,
            started_at=result.started_at,
            ended_at=result.ended_at,
            lineage=lineage,
        )

    def _failed(self, asked: Asked, said: str, *, started_at: datetime, lineage: Lineage) -> TrialRecord:
        uid = self._uid(asked.number)
        return TrialRecord(
            sweep_uid=self.sweep.uid,
            uid=uid,
            run_id=uid,
            run_name=_run_name(self.config.model.algorithm, started_at, asked.number),
            number=asked.number,
            state="failed",
            point=dict(asked.point),
            error=said,
            started_at=started_at,
            ended_at=now(),
            lineage=lineage,
        )

    def _say(self, record: TrialRecord) -> None:
        settings = describe_point(record.point)
        head = f"trial {record.number} ({len(self.records)} of {self.asked}): {settings}"
        if record.result is None:
            self._log.warning(f"{head}: failed: {record.error}")
            return
        score = f"{self.sweep.score_name} {format_number(record.result.score)}"
        took = f"{(record.ended_at - record.started_at).total_seconds():.1f} s"
        end = " (given up)" if record.state == "pruned" else ""
        best = self.study.best
        best_so_far = f"; best so far {format_number(best.score)}, trial {best.number}" if best else ""
        self._log.info(f"{head}: {score} in {took}{end}{best_so_far}")


def divide_cores(config: Config, trials: int) -> tuple[int, int]:
    """Return how many processes make trials at once, and the threads of each; no core is asked for twice.

    With `training.n_jobs` a number, each trial has as many threads, and there are as many trials at once as
    there are cores for. With -1, few trials have all cores, one after the other: an estimator divides its
    work more evenly than a few trials of different length do. Many are made side by side.
    """
    from modelbook.models.estimators import usable_cores

    cores, n_jobs = usable_cores(), config.training.n_jobs
    if n_jobs > 0:
        return max(1, min(cores // n_jobs, trials, _MOST_WORKERS)), n_jobs
    workers = min(cores, _MOST_WORKERS)
    if trials < _TRIALS_A_WORKER * workers:
        return 1, cores
    return workers, cores // workers


def _lineage_now(sweep: SweepRecord, log: PipelineLogger) -> Lineage:
    """Return what trials made from now on come from, and say what changed since the sweep began."""
    began, environment = sweep.lineage, read_environment()
    if changes := environment_changes(began.environment, environment):
        log.warning(f"the sweep began with other packages, or on another machine: {'; '.join(changes)}")
    here = {"environment": environment, "host": platform.node(), "command": command_line()}
    return began.model_copy(update=here)


def _run_name(algorithm: str, moment: datetime, number: int) -> str:
    return f"{algorithm}_{moment.strftime(STAMP)}_{number}"


def code_hash(config: Config) -> str | None:
    """Return the hash of a project's features.py; None where it has none."""
    path = config.path(USER_CODE)
    return file_hash(path) if path.is_file() else None


def _mistakes(error: ModelbookError) -> str | None:
    return "; ".join(getattr(error, "mistakes", ())) or None


def _rows_key(config: Config) -> str:
    """Return what tells rows from others: what reads, validates and divides the table."""
    settings = config.as_dict()
    return _hash([settings[section] for section in ("project", "data", "split")])


def _features_key(config: Config, rows: str) -> str:
    """Return what tells features from others on any rows."""
    return _hash([rows, config.as_dict()["features"], config.training.seed])


def _hash(content: Any) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
