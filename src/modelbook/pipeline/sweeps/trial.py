"""One trial of a sweep: fitted, measured and described, with nothing of the project touched.

Rows are read once for all trials on the same rows, and features are fitted once for all that have the same.
"""

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl

from modelbook.config import Config
from modelbook.data.ingest import DataIngestor
from modelbook.data.split import split_rows
from modelbook.data.validate import DataValidator, raise_if_failed
from modelbook.errors import ModelbookError
from modelbook.evaluation.metrics import columns_of
from modelbook.features.engineer import FeatureEngineer
from modelbook.files import whole_file
from modelbook.logs import now
from modelbook.models.description import describe_model
from modelbook.models.folds import folds
from modelbook.models.parts import hyperparameters
from modelbook.models.remembered import RememberedFeatures, Shelf, remember, with_fitted
from modelbook.models.train import ModelTrainer
from modelbook.pipeline import layout
from modelbook.pipeline.measuring import check_positive_class, divided, evaluate, predict_rows, scoring
from modelbook.pipeline.recording import parameters
from modelbook.pipeline.sweeps.records import ChosenBy, PreparedRows, TrialResult
from modelbook.records import ModelRecord
from modelbook.tracking.lineage import data_version

Tell = Callable[[int, float], bool]

_PARTS = 5  # without cross-validation a fifth of the training rows is held back


class _GivenUp(Exception):  # noqa: N818 (it is no error)
    """The sweep does not want to know more of this trial."""


class _Rows(NamedTuple):
    folder: Path
    train: pd.DataFrame
    test: pd.DataFrame


def check_settings(config: Config) -> None:
    """Return quietly where features and estimator can be built.

    Raises:
        ConfigError: They cannot.
    """
    from modelbook.models.build import build_estimator

    build_estimator(config)
    FeatureEngineer(config).build()


def prepare_rows(config: Config, folder: Path) -> PreparedRows:
    """Lay training and test rows down in a folder, as `ingest`, `validate` and `preprocess` would.

    Raises:
        DataError: The table cannot be read, or breaks its schema.
        StorageError: The folder cannot be written or the disk is full.
    """
    raw = str(config.path(config.data.raw))
    beside = config.model_copy(update={"data": config.data.model_copy(update={"source": raw, "raw": raw})})
    beside = beside.at(folder)
    DataIngestor(beside).ingest_to(beside.path(layout.INGESTED))
    paths = (layout.INGESTED, layout.VALIDATED, layout.REJECTED)
    report = DataValidator(beside).validate_file(*map(beside.path, paths))
    raise_if_failed(report, where=config.data.raw)
    table = pl.read_parquet(beside.path(layout.VALIDATED))
    versions = [data_version(config.root, config.data.raw)]
    for rows, path in zip(split_rows(table, beside), (layout.TRAIN, layout.TEST), strict=True):
        with whole_file(beside.path(path)) as temporary:
            table[rows].write_parquet(temporary)
        versions.append(data_version(folder, path, rows=len(rows)))
    shutil.rmtree(beside.path(layout.INGESTED).parent)
    return PreparedRows(data=tuple(versions))


class TrialBench:
    """Makes trials one after the other, and keeps rows and features for those that have the same."""

    def __init__(self) -> None:
        self._rows: _Rows | None = None
        self._shelf = Shelf()
        self._made_for = ""

    def make(
        self,
        config: Config,
        folder: Path,
        *,
        features_key: str,
        metric: str,
        chosen_by: ChosenBy,
        predictions: Path,
        tell: Tell,
    ) -> TrialResult:
        """Fit and measure a model, and return what came of it.

        Args:
            config: The settings, with the number of threads to fit with.
            folder: Where its rows were laid down.
            features_key: The same for trials with the same features on the same rows.
            metric: The metric that trials are judged by.
            chosen_by: What rows it is measured on for that: the held-out folds of cross-validation, training
                rows that are held back, or the test rows.
            predictions: Gets what it predicts for the test rows.
            tell: Takes the number of a fold and the mean score so far; says whether to go on.

        Raises:
            ModelbookError: The settings, or the rows, do not make a model.
            StorageError: The predictions cannot be written.
        """
        started_at = now()
        train, test = self._read(folder, features_key)
        check_positive_class(train, config)
        trainer = ModelTrainer(config)
        features = remember(FeatureEngineer(config).build(), self._shelf)
        scores: list[float] = []
        try:
            metrics = _cross_validate(trainer, train, features, metric=metric, tell=tell, scores=scores)
        except _GivenUp:
            means = _means(scores)
            return TrialResult(
                started_at=started_at, ended_at=now(), score=means[-1], folds=means, is_pruned=True
            )
        further = _validate(trainer, train, features) if chosen_by == "validation" else {}
        trainer.train(*divided(train, config), transformer=features)
        measured, model = _measured(trainer, train, test, predictions=predictions)
        metrics |= measured
        rows = {layout.TRAIN: len(train), layout.TEST: len(test)}
        return TrialResult(
            started_at=started_at,
            ended_at=now(),
            score=_score(metrics | further, metric, chosen_by),
            params=parameters(config, hyperparameters(trainer.model[-1]), rows=rows),
            metrics=metrics,
            further=further,
            folds=_means(scores),
            model=model,
        )

    def _read(self, folder: Path, features_key: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        if self._rows is None or self._rows.folder != folder:
            train, test = (pl.read_parquet(folder / path).to_pandas() for path in (layout.TRAIN, layout.TEST))
            test.index += len(train)  # each row has a name of its own, by which features are remembered
            self._rows = _Rows(folder, train, test)
        if features_key != self._made_for:
            self._shelf, self._made_for = Shelf(), features_key
        return self._rows.train, self._rows.test


def _cross_validate(
    trainer: ModelTrainer,
    train: pd.DataFrame,
    features: RememberedFeatures,
    *,
    metric: str,
    tell: Tell,
    scores: list[float],
) -> dict[str, float]:
    if not trainer.config.training.cv_folds:
        return {}
    X, y = divided(train, trainer.config)
    measure = scoring(trainer.config, sorted(set(y.tolist())))

    def told(*columns: Any) -> Mapping[str, float]:
        found = measure(*columns)
        scores.append(_finite(found[metric], f"cv_{metric}"))
        if not tell(len(scores) - 1, float(np.mean(scores))):
            raise _GivenUp
        return found

    return trainer.cross_validate(X, y, score=told, transformer=features)


def _validate(trainer: ModelTrainer, train: pd.DataFrame, features: RememberedFeatures) -> dict[str, float]:
    """Return the metrics on training rows that were held back, made as a fold of five would be.

    The last fold: in the order of time it is the one with the most rows to learn from.
    """
    config = trainer.config
    X, y = divided(train, config)
    fit, held = list(folds(config, X, y.to_numpy(), count=_PARTS, where=None))[-1]
    trainer.train(X.iloc[fit], y.iloc[fit], transformer=features)
    predicted = predict_rows(trainer, train.iloc[held])
    measured = scoring(config, trainer.classes)(*columns_of(predicted))
    return {f"validation_{name}": value for name, value in measured.items()}


def _measured(
    trainer: ModelTrainer, train: pd.DataFrame, test: pd.DataFrame, *, predictions: Path
) -> tuple[dict[str, float], ModelRecord]:
    """Return the metrics on training and test rows, and the model's record; keep what it predicts."""
    with ThreadPoolExecutor(1) as pool:
        described = pool.submit(_described, trainer)  # a core has room for it beside the evaluation
        measured, predicted = evaluate(trainer, train, test)
        with whole_file(predictions) as temporary:
            predicted.to_parquet(temporary)
        return measured, described.result()


def _described(trainer: ModelTrainer) -> ModelRecord:
    config = trainer.config
    return describe_model(
        with_fitted(trainer.model),
        algorithm=config.model.algorithm,
        task=config.project.task,
        target=config.data.target,
        inputs=FeatureEngineer(config).inputs,
        code=trainer.code_files,
    )


def _means(scores: list[float]) -> tuple[float, ...]:
    return tuple(float(np.mean(scores[: place + 1])) for place in range(len(scores)))


def _score(metrics: Mapping[str, float], metric: str, chosen_by: ChosenBy) -> float:
    name = f"cv_{metric}_mean" if chosen_by == "cv" else f"{chosen_by}_{metric}"
    return _finite(metrics[name], name)


def _finite(score: float, name: str) -> float:
    if not np.isfinite(score):
        raise ModelbookError("the trial has no score", where=name, got=str(score))
    return score
