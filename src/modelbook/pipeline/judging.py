"""The stage `register`: the gate's verdict on a run, its report, and the registration of what passes.

It starts from the run's outputs and may be done again: after a changed threshold, or with outputs that DVC
restored. It then adds to the same run, and one model digest is registered once.
"""

import pandas as pd

from modelbook.config import Config
from modelbook.evaluation.gate import decide, held_out_metrics
from modelbook.evaluation.report import ReportContent, render_report
from modelbook.files import write_whole
from modelbook.logs import PipelineLogger
from modelbook.pipeline import layout
from modelbook.pipeline.questions import check_run, rejection, say_verdict, smoke_checks
from modelbook.pipeline.recording import attach_verdict, ensure_entered, record_verdict
from modelbook.records import EvaluationReport, GateDecision, RunMetadata, ValidationReport
from modelbook.registry.promotion import mend_interrupted
from modelbook.registry.registry import ModelRegistry
from modelbook.tracking.journal import keep_run, run_before
from modelbook.tracking.outbox import is_held_back, outbox_of
from modelbook.tracking.tracker import MLflowTracker


def judge_and_register(config: Config, log: PipelineLogger) -> None:
    """Judge the run whose outputs lie in the project, report on it, and register its model if it passes.

    Raises:
        ConfigError: A slice names a column that the test rows do not have, or cuts one that cannot be.
        GateRejectedError: The model fails a check: recorded as rejected, and not registered.
        StorageError: The folder cannot be written or the disk is full.
    """
    mend_interrupted(config)
    metadata = RunMetadata.read(config.path(layout.METADATA))
    tracker = MLflowTracker(config, is_offline=_is_offline(config, metadata))
    try:
        gate = _ask(tracker, metadata, config=config, log=log)
        say_verdict(gate, log)
        number = record_verdict(tracker, metadata, gate, config=config) if tracker.is_recording else None
        evaluation = _evaluation(metadata, gate, run_id=tracker.run_id)
        version = _register(metadata, evaluation, number, config=config)
        html = _report(metadata, gate, version, config=config)
        write_whole(config.path(layout.REPORT), html.encode())
        predictions = config.path(layout.PREDICTIONS)
        keep_run(config, metadata, evaluation=evaluation, report=html, predictions=predictions)
        attach_verdict(tracker, metadata.uid, config)
    finally:
        tracker.leave_run()
    evaluation.write(config.path(layout.EVALUATION))
    if version is None:
        raise rejection(gate)
    log.info(f"registered: {version}")


def _is_offline(config: Config, metadata: RunMetadata) -> bool:
    """Return whether the store was found to be away, by this run or the one before it."""
    return outbox_of(config, metadata.uid).exists or is_held_back(config)


def _ask(
    tracker: MLflowTracker, metadata: RunMetadata, *, config: Config, log: PipelineLogger
) -> GateDecision:
    """Return the verdict; while the packaged model is at work, the run is seen to be on record."""
    with smoke_checks(config, metadata) as smoke:
        checks = check_run(config, metadata)
        _enter(tracker, metadata, config=config, log=log)
        return decide((*checks, *smoke()))


def _enter(tracker: MLflowTracker, metadata: RunMetadata, *, config: Config, log: PipelineLogger) -> None:
    """See to it that the store, or its outbox, holds the run, which is then open to be added to."""
    if not tracker.is_recording:
        tracker.run_id = metadata.run_id
        return
    run_id = ensure_entered(tracker, metadata, config)
    log.info(f"judging run {metadata.run_name} ({run_id})")


def _evaluation(metadata: RunMetadata, gate: GateDecision, *, run_id: str) -> EvaluationReport:
    return EvaluationReport(
        run_id=run_id,
        uid=metadata.uid,
        metrics=held_out_metrics(metadata.metrics),
        threshold_checks=gate.answers,
        all_checks_passed=gate.passed,
        gate=gate,
    )


def _register(
    metadata: RunMetadata, evaluation: EvaluationReport, number: str | None, *, config: Config
) -> str | None:
    """Register a passed model locally and return the version as people name it."""
    if not evaluation.gate.passed:
        return None
    path = config.path(layout.MODELS) / metadata.model.file
    local = ModelRegistry(config).register_model(path, metadata, evaluation, mlflow_version=number)
    name = config.tracking.model_name
    return f"{name} {local}" + (f" (MLflow version {number})" if number else "")


def _report(metadata: RunMetadata, gate: GateDecision, version: str | None, *, config: Config) -> str:
    plots = config.path(layout.PLOTS)
    validation, worth = config.path(layout.VALIDATION), config.path(layout.FEATURE_REPORT)
    content = ReportContent(
        metadata=metadata,
        gate=gate,
        predictions=pd.read_parquet(config.path(layout.PREDICTIONS)),
        plots=tuple(sorted(path for path in plots.iterdir() if path.suffix in {".png", ".txt"})),
        validation=ValidationReport.read(validation) if validation.is_file() else None,
        worth=pd.read_csv(worth) if worth.is_file() else None,
        previous=run_before(config, metadata),
        version=version,
    )
    return render_report(content)
