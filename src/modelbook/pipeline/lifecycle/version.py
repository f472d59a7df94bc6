"""One registered version in full: what it is worth, where it stands, and what it came from."""

from modelbook.config import ConfigLike, load_config
from modelbook.errors import ModelRefusedError, NotFoundError
from modelbook.logs import PipelineLogger
from modelbook.pipeline.lifecycle.judgement import find_judgement
from modelbook.pipeline.recorded import RecordedRun, find_recorded
from modelbook.records import CodeState, DataVersion, Environment, GateCheck, InputColumn, Record
from modelbook.registry.listing import VersionSummary, find_version


class VersionLineage(Record):
    """What a version came from.

    Attributes:
        algorithm: The name of its estimator.
        target: The column that it predicts.
        inputs: The raw columns that it takes.
        params: The settings that it was made with.
        code: The commit, and whether code or config differed from it; the difference itself is left out.
        data: Every input file with its hash.
        config_sha256: The hash of the resolved settings.
        environment: The machine, and the hash of its packages; the packages themselves are left out.
        seeds: Every seed by name.
        threads: Threads that it was fitted with.
        command: The command as it was given.
        host: The machine's name.
    """

    algorithm: str
    target: str
    inputs: tuple[InputColumn, ...]
    params: dict[str, str]
    code: CodeState
    data: tuple[DataVersion, ...]
    config_sha256: str
    environment: Environment
    seeds: dict[str, int]
    threads: int
    command: str
    host: str


class VersionDetail(Record):
    """A version in full; `lineage` is None where nothing is on record of how it was made."""

    summary: VersionSummary
    checks: tuple[GateCheck, ...]
    lineage: VersionLineage | None


def describe_version(config: ConfigLike, ref: str) -> VersionDetail:
    """Return everything about the version that `NAME/VERSION` names, by MLflow's number or the local name.

    Raises:
        NotFoundError: There is none.
        TrackingStoreError: The store cannot be used.
    """
    settings = load_config(config)
    summary = find_version(settings, ref)
    log = PipelineLogger("models")
    run = None
    try:
        run = find_recorded(
            settings, f"models:/{summary.name}/{summary.version or summary.local_version}", log
        )
    except NotFoundError as error:
        log.info(f"{error.what} ({error.where})")
    except ModelRefusedError as error:
        log.warning(str(error))
    judgement = find_judgement(settings, summary.digest, [summary.run_id], verdict=summary.gate)
    return VersionDetail(
        summary=summary,
        checks=judgement.gate.checks if judgement else (),
        lineage=_lineage(run) if run else None,
    )


def _lineage(run: RecordedRun) -> VersionLineage:
    metadata, lineage = run.metadata, run.metadata.lineage
    return VersionLineage(
        algorithm=metadata.model.algorithm,
        target=metadata.model.target,
        inputs=metadata.model.inputs,
        params=metadata.params,
        code=lineage.code.model_copy(update={"patch": None}),
        data=lineage.data,
        config_sha256=lineage.config_sha256,
        environment=lineage.environment.model_copy(update={"packages": {}}),
        seeds=lineage.seeds,
        threads=lineage.threads,
        command=lineage.command,
        host=lineage.host,
    )
