"""The stage `train`: one pipeline from raw columns to predictions, fitted, evaluated and recorded."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import pandas as pd
import polars as pl

from modelbook.config import Config
from modelbook.evaluation.gate import held_out_metrics
from modelbook.features.engineer import FeatureEngineer
from modelbook.files import whole_file, write_whole
from modelbook.logs import STAMP, PipelineLogger, now
from modelbook.models.package import pack
from modelbook.models.parts import hyperparameters, outcome
from modelbook.models.train import ModelTrainer
from modelbook.pipeline import layout
from modelbook.pipeline.measuring import check_positive_class, divided, evaluate, scoring
from modelbook.pipeline.recording import enter_run, parameters
from modelbook.records import Lineage, ModelRecord, RunMetadata
from modelbook.tracking.lineage import command_line, read_lineage
from modelbook.tracking.outbox import is_held_back
from modelbook.tracking.tracker import MLflowTracker


def train_and_record(config: Config, log: PipelineLogger) -> RunMetadata:
    """Fit the model on the training rows, and leave its package, its numbers and its record.

    The run is open in the tracking store while this works. Where the store is away, or goes away, what is
    left to tell it waits in the outbox.

    Raises:
        DataInvalidError: The rows are too few for what is asked.
        ConfigError: The estimator refuses its settings, or the positive class is none of the target's.
        StorageError: The folder cannot be written or the disk is full.
    """
    started_at = now()
    train, test = (pl.read_parquet(config.path(path)).to_pandas() for path in (layout.TRAIN, layout.TEST))
    check_positive_class(train, config)
    rows = {layout.TRAIN: len(train), layout.TEST: len(test)}
    trainer = ModelTrainer(config)
    lineage = _lineage(config, rows, threads=trainer.threads)
    with MLflowTracker(config, is_offline=is_held_back(config)) as tracker:
        name = f"{config.model.algorithm}_{started_at.strftime(STAMP)}"
        tracker.start_run(name, lineage=lineage, started_at=started_at)
        log.info(f"run {name} ({tracker.run_id})")
        tracker.log_lineage(lineage)
        result = _make_outputs(trainer, train, test, log=log)
        metadata = RunMetadata(
            uid=tracker.uid,
            run_id=tracker.run_id,
            run_name=name,
            experiment=config.tracking.experiment,
            started_at=started_at,
            ended_at=now(),
            params=parameters(config, hyperparameters(trainer.model[-1]), rows=rows),
            metrics=result.metrics,
            importances=result.importances,
            model=result.model,
            lineage=lineage,
            outcome=trainer.outcome,
        )
        metadata.write(config.path(layout.METADATA))
        enter_run(tracker, metadata, config)
        tracker.end_run(ended_at=metadata.ended_at)
    return metadata


def _lineage(config: Config, rows: dict[str, int], *, threads: int) -> Lineage:
    data = (config.data.raw, *rows)
    return read_lineage(config, data=data, rows=rows, threads=threads, command=command_line())


class _Result(NamedTuple):
    metrics: dict[str, float]
    importances: dict[str, float]
    model: ModelRecord


def _make_outputs(
    trainer: ModelTrainer, train: pd.DataFrame, test: pd.DataFrame, *, log: PipelineLogger
) -> _Result:
    """Fit, then evaluate while the model is saved: saving is compression, beside which there is room."""
    trainer.settle(*divided(train, trainer.config))
    metrics = _cross_validate(trainer, train, log)
    _fit(trainer, train, log)
    with ThreadPoolExecutor(max_workers=2) as pool:
        packed = pool.submit(_pack, trainer)
        exported = pool.submit(trainer.save_model)
        measured, predictions = evaluate(trainer, train, test)
        metrics |= measured
        importances = trainer.get_feature_importance(*divided(test, trainer.config))
        _write_outputs(trainer, metrics, predictions, importances=importances)
        _report_features(trainer, test, importances)
    _say_results(metrics, packed.result(), exported.result(), log=log)
    return _Result(metrics, importances, packed.result())


def _cross_validate(trainer: ModelTrainer, train: pd.DataFrame, log: PipelineLogger) -> dict[str, float]:
    config = trainer.config
    if not config.training.cv_folds:
        return {}
    log.info(f"cross-validating in {config.training.cv_folds} folds")
    X, y = divided(train, config)
    return trainer.cross_validate(X, y, score=scoring(config, sorted(set(y.tolist()))))


def _fit(trainer: ModelTrainer, train: pd.DataFrame, log: PipelineLogger) -> None:
    algorithm = trainer.settled.model.algorithm
    log.info(f"fitting {algorithm} on {len(train)} rows with {trainer.threads} threads")
    started_at = now()
    trainer.train(*divided(train, trainer.config))
    log.info(f"fitted in {(now() - started_at).total_seconds():.1f} s")
    for line in outcome(trainer.model[-1]):
        log.info(line)


def _write_outputs(
    trainer: ModelTrainer,
    metrics: dict[str, float],
    predictions: pd.DataFrame,
    *,
    importances: dict[str, float],
) -> None:
    from modelbook.evaluation.plots import draw_plots  # beside the saving, where half a second is free

    config = trainer.config
    write_whole(config.path(layout.METRICS), _as_json(metrics))
    with whole_file(config.path(layout.PREDICTIONS)) as temporary:
        predictions.to_parquet(temporary)
    shutil.rmtree(config.path(layout.PLOTS), ignore_errors=True)  # those of another task, without DVC
    draw_plots(
        predictions,
        importances,
        task=config.project.task,
        classes=trainer.classes,
        positive_class=config.evaluation.positive_class,
        folder=config.path(layout.PLOTS),
    )


def _report_features(trainer: ModelTrainer, test: pd.DataFrame, importances: dict[str, float]) -> None:
    from modelbook.evaluation.worth import feature_worth

    config = trainer.config
    if not config.evaluation.feature_report:
        return
    X, y = divided(test, config)
    worth = feature_worth(
        trainer.model,
        X,
        y=y.to_numpy(),
        task=config.project.task,
        seed=config.training.seed,
        importances=importances,
    )
    with whole_file(config.path(layout.FEATURE_REPORT)) as temporary:
        worth.to_csv(temporary, index=False)


def _as_json(metrics: dict[str, float]) -> bytes:
    finite = {name: value if np.isfinite(value) else None for name, value in metrics.items()}
    return orjson.dumps(finite, option=orjson.OPT_INDENT_2) + b"\n"


def _pack(trainer: ModelTrainer) -> ModelRecord:
    config = trainer.config
    return pack(
        trainer.model,
        config.path(layout.MODELS),
        algorithm=trainer.settled.model.algorithm,
        task=config.project.task,
        target=config.data.target,
        inputs=FeatureEngineer(config).inputs,
        code=trainer.code_files,
    )


def _say_results(
    metrics: dict[str, float], record: ModelRecord, export: Path, *, log: PipelineLogger
) -> None:
    for name, value in held_out_metrics(metrics).items():
        log.metric(name.upper(), value)
    log.info(f"model packed: {record.size_bytes / 1e6:.1f} MB, digest {record.digest[:12]}")
    log.info(f"exported as {export.name}")
