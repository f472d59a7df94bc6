"""The local journal: what is kept of every run in logs/runs/<uid>, whatever becomes of the store."""

from collections.abc import Iterator
from pathlib import Path

import orjson
from pydantic import ValidationError

from modelbook.config import Config
from modelbook.files import link_or_copy, write_whole
from modelbook.logs import PipelineLogger
from modelbook.records import EvaluationReport, GateVerdict, RunMetadata

FOLDER = "logs/runs"
METADATA_FILE = "metadata.json"
EVALUATION_FILE = "evaluation_report.json"
REPORT_FILE = "report.html"
REPRODUCTION_FILE = "reproduction.json"
TRIAL_FILE = "trial.json"
PREDICTIONS_FILE = "test_predictions.parquet"


def keep_run(
    config: Config,
    metadata: RunMetadata,
    *,
    evaluation: EvaluationReport,
    report: str,
    predictions: Path | None = None,
) -> Path:
    """Enter a run, or what was judged anew of it, into the journal and return its folder.

    Args:
        config: The project.
        metadata: The run.
        evaluation: What was said of it.
        report: Its report.
        predictions: What it predicted for the test rows, by which it is known when it is made again.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    folder = config.path(FOLDER) / metadata.uid
    metadata.write(folder / METADATA_FILE)
    evaluation.write(folder / EVALUATION_FILE)
    write_whole(folder / REPORT_FILE, report.encode())
    if predictions is not None:
        link_or_copy(predictions, folder / PREDICTIONS_FILE)
    return folder


def kept_runs(config: Config) -> list[RunMetadata]:
    """Return the runs of the journal, the latest first; what cannot be read is named and left out."""
    runs = filter(None, map(_read, _entries(config)))
    return sorted(runs, key=lambda run: run.started_at, reverse=True)


def kept_evaluation(config: Config, uid: str) -> EvaluationReport | None:
    """Return what was said of a run, where the journal has it."""
    path = config.path(FOLDER) / uid / EVALUATION_FILE
    return EvaluationReport.read(path) if path.is_file() else None


def kept_parent(config: Config, uid: str) -> str | None:
    """Return the own id of the sweep that a run is a trial of; None for any other run."""
    path = config.path(FOLDER) / uid / TRIAL_FILE
    return str(orjson.loads(path.read_bytes())["sweep_uid"]) if path.is_file() else None


def last_judgements(config: Config) -> dict[str, EvaluationReport]:
    """Return what the gate said last of each model that it judged, by digest, whichever run made it."""
    found: dict[str, EvaluationReport] = {}
    for run in reversed(kept_runs(config)):
        kept = kept_evaluation(config, run.uid)
        if kept is not None and kept.gate.verdict is not GateVerdict.NONE:
            found[run.model.digest] = kept
    return found


def run_before(config: Config, metadata: RunMetadata) -> RunMetadata | None:
    """Return the run that the journal has before another one, but for those that are parts of another matter.

    A run that makes another again is none, and neither is a trial of a sweep.
    """
    earlier = (run for run in kept_runs(config) if run.started_at < metadata.started_at)
    folder = config.path(FOLDER)
    asides = (REPRODUCTION_FILE, TRIAL_FILE)
    return next(
        (run for run in earlier if not any((folder / run.uid / name).is_file() for name in asides)), None
    )


def _entries(config: Config) -> Iterator[Path]:
    return config.path(FOLDER).glob(f"*/{METADATA_FILE}")


def _read(path: Path) -> RunMetadata | None:
    try:
        return RunMetadata.read(path)
    except (OSError, ValidationError):
        PipelineLogger("journal").warning(f"{path} cannot be read: that run is left out")
        return None
