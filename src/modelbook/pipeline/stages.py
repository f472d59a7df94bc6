"""The stages: what each reads, which room it calls, what it writes.

Every stage starts from files and ends in files, so that DVC, `modelbook run` and `--no-dvc` can run each by
itself. The heavy libraries are imported by the stage that needs them.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from modelbook.config import CONFIG_PATH, Config, load_config
from modelbook.errors import ConfigError, UsageError
from modelbook.files import whole_file
from modelbook.logs import PipelineLogger
from modelbook.pipeline import layout
from modelbook.records import ValidationReport


def run_stage(name: str, config: Config, *, why: Iterable[str] = (), logs: Path | None = None) -> None:
    """Run one stage.

    Args:
        name: One of `STAGES`.
        config: The project.
        why: The reasons that it has to run, for its log.
        logs: Where its log goes; the project's own folder by default.

    Raises:
        UsageError: There is no such stage.
        ModelbookError: The stage failed; which error says how.
    """
    if name not in STAGES:
        raise UsageError("there is no such stage", got=name, expected=", ".join(STAGES))
    log = PipelineLogger(name, folder=logs or config.path(layout.LOGS))
    log.stage_start(name.capitalize())
    for reason in why:
        log.info(f"why: {reason}")
    try:
        STAGES[name](config, log)
    except BaseException as error:
        log.warning(f"stage {name} did not finish: {type(error).__name__}")
        raise
    log.stage_end(name.capitalize())


def refuse_changed_settings(config: Config, *, stage: str) -> None:
    """Fail where config.yaml is not what a stage ran with any more: DVC would note down the new settings.

    Raises:
        ConfigError: The settings changed.
    """
    if load_config(config.root).as_dict() != config.as_dict():
        raise ConfigError(
            f"the settings changed while stage {stage} ran",
            where=str(config.path(CONFIG_PATH)),
            hint="run the command again: the stage then runs with the new ones",
        )


def ingest(config: Config, log: PipelineLogger) -> None:
    """Bring the source into the project and read it into one Parquet file, values untouched."""
    from modelbook.data.ingest import DataIngestor

    ingestor = DataIngestor(config)
    ingestor.snapshot()
    rows = ingestor.ingest_to(config.path(layout.INGESTED))
    log.info(f"{rows} rows read from {config.data.raw}")


def validate(config: Config, log: PipelineLogger) -> None:
    """Hold the table to its schema: valid rows typed, bad ones aside with the reason."""
    from modelbook.data.validate import DataValidator, raise_if_failed

    report = DataValidator(config).validate_file(
        config.path(layout.INGESTED), config.path(layout.VALIDATED), config.path(layout.REJECTED)
    )
    report.write(config.path(layout.VALIDATION))
    _say_what_validation_found(report, log)
    raise_if_failed(report, where=config.data.raw)


def preprocess(config: Config, log: PipelineLogger) -> None:
    """Divide the rows, then fit the features on the training rows alone."""
    import polars as pl

    from modelbook.data.split import split_rows
    from modelbook.features.engineer import FeatureEngineer
    from modelbook.models.package import dump_skops

    table = pl.read_parquet(config.path(layout.VALIDATED))
    train_rows, test_rows = split_rows(table, config)
    train, test = table[train_rows], table[test_rows]
    for part, path in ((train, layout.TRAIN), (test, layout.TEST)):
        with whole_file(config.path(path)) as temporary:
            part.write_parquet(temporary)
    features = train.to_pandas()
    engineer = FeatureEngineer(config).fit(features, features.pop(config.data.target))
    dump_skops(engineer.transformer, config.path(layout.FEATURE_ENGINEER))
    log.info(f"{train.height} training rows, {test.height} test rows")
    log.info(f"{len(engineer.get_feature_names_out())} features")


def train(config: Config, log: PipelineLogger) -> None:
    """Fit, evaluate and record the model."""
    from modelbook.pipeline.training import train_and_record

    train_and_record(config, log)


def register(config: Config, log: PipelineLogger) -> None:
    """Let the gate decide, and register what passes."""
    from modelbook.pipeline.judging import judge_and_register

    judge_and_register(config, log)


STAGES: Mapping[str, Callable[[Config, PipelineLogger], None]] = MappingProxyType(
    {stage.__name__: stage for stage in (ingest, validate, preprocess, train, register)}
)


def _say_what_validation_found(report: ValidationReport, log: PipelineLogger) -> None:
    log.info(f"{report.valid_rows} of {report.rows} rows are valid")
    for group in report.rejected:
        log.warning(f"{group.rows} rows rejected: {group.reason}")
    for warning in report.warnings:
        log.warning(warning)
