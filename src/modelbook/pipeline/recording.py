"""A finished run entered into the tracking store, out of nothing but the files it left behind."""

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbook.config import Config
from modelbook.files import write_whole
from modelbook.pipeline import layout
from modelbook.records import GateDecision, RunMetadata
from modelbook.tracking import journal
from modelbook.tracking.abandoned import process_tags
from modelbook.tracking.events import GATE_TAG, UID_TAG, RunStarted
from modelbook.tracking.lineage import lineage_tags
from modelbook.tracking.versions import ModelNotLoggedError

if TYPE_CHECKING:
    import pandas as pd

    from modelbook.tracking.tracker import MLflowTracker

_EXAMPLE_ROWS = 5


def enter_run(tracker: "MLflowTracker", metadata: RunMetadata, config: Config) -> None:
    """Record everything about a run in the run that the tracker has open.

    Doing it twice changes nothing, so an interrupted entry is simply done again.

    Args:
        tracker: With a run open.
        metadata: The run's record.
        config: The project, whose models/ and reports/ hold the run's outputs.

    Raises:
        TrackingStoreError: The store refuses what it is told.
    """
    tracker.log_params(metadata.params)
    tracker.log_metrics(metadata.metrics, moment=metadata.ended_at)
    tracker.log_lineage(metadata.lineage)
    with tempfile.TemporaryDirectory() as name:
        _lay_out_artifacts(Path(name), config)
        tracker.log_artifacts(name)
    package = config.path(layout.MODELS)
    tracker.log_packed_model(metadata.model, package, example=_example(config, metadata))


def ensure_entered(tracker: "MLflowTracker", metadata: RunMetadata, config: Config) -> str:
    """Return the id of a run, open to be added to, after entering it where the store does not hold it whole.

    A run that DVC's cache restored may be unknown to this store: a new clone, a lost database, another
    server. It is then entered from what was restored, under the uid and with the times that it had. Where
    the store is away, all of that waits in the outbox.

    Raises:
        TrackingStoreError: The store refuses what it is told.
    """
    if tracker.resume_run(_beginning(metadata, config)) != "FINISHED":
        enter_run(tracker, metadata, config)
        tracker.end_run(ended_at=metadata.ended_at)
        tracker.resume_run(_beginning(metadata, config, run_id=tracker.run_id))
    return tracker.run_id


def enter_again(metadata: RunMetadata, config: Config) -> tuple[str, str | None]:
    """Enter a run whole, with the verdict that it got, where its store lost what it held of it.

    Args:
        metadata: The run's record.
        config: The project, which is held, and whose models/ and reports/ hold the run's outputs.

    Returns:
        The run's id, and the version of its model where that is registered.

    Raises:
        TrackingStoreError: The store refuses what it is told.
    """
    from modelbook.tracking.tracker import MLflowTracker

    tracker = MLflowTracker(config)
    evaluation = journal.kept_evaluation(config, metadata.uid)
    try:
        run_id = ensure_entered(tracker, metadata, config)
        if evaluation is None:
            return run_id, None
        number = record_verdict(tracker, metadata, evaluation.gate, config=config)
        attach_verdict(tracker, metadata.uid, config)
        return run_id, number
    finally:
        tracker.leave_run()


def record_verdict(
    tracker: "MLflowTracker", metadata: RunMetadata, gate: GateDecision, *, config: Config
) -> str | None:
    """Tag a run with the gate's verdict, register its model if it passed, and return the store's version."""
    tracker.set_tags({GATE_TAG: gate.verdict})
    if not gate.passed:
        return None
    package = config.path(layout.MODELS)
    register = partial(
        tracker.register,
        config.tracking.model_name,
        metadata.model,
        tags={GATE_TAG: gate.verdict},
        package=package,
    )
    try:
        return register()
    except ModelNotLoggedError:  # `modelbook gc` cleared it while the gate rejected it
        tracker.log_packed_model(metadata.model, package, example=_example(config, metadata))
        return register()


def attach_verdict(tracker: "MLflowTracker", uid: str, config: Config) -> None:
    """Add what was made of a run's verdict to its artifacts, out of the journal."""
    folder = config.path(journal.FOLDER) / uid
    paths = (folder / journal.REPORT_FILE, folder / journal.EVALUATION_FILE, config.path(layout.LOCK))
    for path in filter(Path.is_file, paths):
        tracker.log_artifact(path)


def _beginning(metadata: RunMetadata, config: Config, *, run_id: str | None = None) -> RunStarted:
    return RunStarted(
        uid=metadata.uid,
        run_id=run_id or metadata.run_id,
        name=metadata.run_name,
        experiment=metadata.experiment,
        started_at=metadata.started_at,
        tags=lineage_tags(metadata.lineage) | process_tags(config) | {UID_TAG: metadata.uid},
    )


def parameters(config: Config, hyperparameters: dict[str, Any], *, rows: dict[str, int]) -> dict[str, str]:
    """Return what a run records as its parameters.

    Hyperparameters, `algorithm`, `train_samples` and `test_samples` have bare names; every other setting
    that bears on the result has its dotted path.
    """
    settings = config.as_dict()
    for section in ("tracking", "serving"):
        del settings[section]
    del settings["data"]["schema"], settings["model"]
    settings["features"]["left_out"] = list(settings["features"]["left_out"])
    bare = {
        "algorithm": config.model.algorithm,
        "train_samples": rows[layout.TRAIN],
        "test_samples": rows[layout.TEST],
    }
    named = {**_dotted(settings), **hyperparameters, **bare}
    return {key: _text(value) for key, value in named.items()}


def _dotted(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        is_branch = isinstance(value, dict) and value
        flat |= _dotted(value, f"{prefix}{key}.") if is_branch else {f"{prefix}{key}": value}
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _lay_out_artifacts(folder: Path, config: Config) -> None:
    plots = config.path(layout.PLOTS)
    shown = sorted(path for path in plots.iterdir() if path.suffix in {".png", ".txt"})
    worth = config.path(layout.FEATURE_REPORT)
    tables = (worth,) if worth.is_file() else ()
    for path in (*shown, *tables, config.path(layout.METADATA), config.path(layout.PREDICTIONS)):
        write_whole(folder / path.name, path.read_bytes())


def _example(config: Config, metadata: RunMetadata) -> "pd.DataFrame":
    import polars as pl

    columns = [column.name for column in metadata.model.inputs]
    return (
        pl.scan_parquet(config.path(layout.TRAIN)).select(columns).head(_EXAMPLE_ROWS).collect().to_pandas()
    )
