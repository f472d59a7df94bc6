"""Every registered version of a project's models: the local registry and MLflow's, side by side."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelbook.config import Config
from modelbook.errors import NotFoundError, StoreAwayError
from modelbook.evaluation.gate import held_out_metrics
from modelbook.logs import PipelineLogger
from modelbook.records import GateVerdict, ModelVersion, Record, Stage
from modelbook.registry.promotion import mend_interrupted
from modelbook.registry.reference import PRODUCTION, STAGING
from modelbook.registry.registry import ModelRegistry
from modelbook.tracking.absent import or_none
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.events import GATE_TAG, ModelRegistered, RunStarted
from modelbook.tracking.journal import kept_runs, last_judgements
from modelbook.tracking.lifecycle import STAGE_TAG
from modelbook.tracking.outbox import began, waiting_events
from modelbook.tracking.store import name_filter, open_client, store_errors
from modelbook.tracking.versions import DIGEST_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion as MLflowVersion


class VersionSummary(Record):
    """One registered version as a list shows it.

    Attributes:
        name: The model.
        version: MLflow's number; None where MLflow does not have it.
        local_version: The local registry's name; None where only MLflow has it.
        stage: `None`, `Staging`, `Production` or `Archived`.
        aliases: MLflow's aliases.
        gate: What the gate said of it.
        metrics: Its metrics on the test rows, as far as they are known here.
        created_at: When it was registered.
        size_bytes: The size of the model's file, as far as it is known here.
        run_id: The run that made it.
        digest: The digest of its fitted state.
        is_waiting: Whether it waits in the outbox for MLflow to give it a number.
        commit: The git commit that it was made from, as far as it is known.
        removed_at: When its local copy was removed to make room; None while it is there.
    """

    name: str
    version: str | None
    local_version: str | None
    stage: str
    aliases: tuple[str, ...]
    gate: str | None
    metrics: dict[str, float]
    created_at: datetime
    size_bytes: int | None
    run_id: str | None
    digest: str | None
    is_waiting: bool = False
    commit: str | None = None
    removed_at: datetime | None = None


def list_versions(config: Config, name: str | None = None) -> list[VersionSummary]:
    """Return the versions of a model, or of every model of the project, the newest first.

    What waits in the outbox is among them. With MLflow on these are all that its registry holds under the
    project's model name, those of other clones included; where its server does not answer, they are those
    that this project itself knows of.

    Raises:
        NotFoundError: There is no model of that name.
        TrackingStoreError: The store cannot be used.
    """
    mend_interrupted(config)
    local = ModelRegistry(config).versions(name)
    names = {entry.name for entry in local} | {name or config.tracking.model_name}
    remote = _in_mlflow_if_it_answers(config, sorted(names)) if config.training.enable_mlflow else []
    by_number = {(version.name, str(version.version)): version for version in remote}
    commits = {run.uid: run.lineage.code.commit for run in kept_runs(config)}
    verdicts = {digest: said.gate.verdict for digest, said in last_judgements(config).items()}
    known = [
        _merged(
            entry,
            by_number.pop((entry.name, entry.mlflow_version or ""), None),
            commit=commits.get(entry.uid or ""),
            gate=verdicts.get(entry.model.digest if entry.model else "", entry.gate),
        )
        for entry in local
    ]
    others = _only_in_mlflow(config, list(by_number.values()))
    known, others = _with_waiting(known, config), others + _only_waiting(known, config, name)
    if name and not known and not others:
        raise NotFoundError("there is no such model", where=name, hint="`modelbook models` lists them")
    return sorted([*known, *others], key=lambda version: version.created_at, reverse=True)


def find_version(config: Config, ref: str) -> VersionSummary:
    """Return the version that `NAME/VERSION` names, by MLflow's number or the local name.

    Raises:
        NotFoundError: There is none.
    """
    name, _, wanted = ref.rpartition("/")
    for version in list_versions(config, name):
        if wanted in {version.version, version.local_version}:
            return version
    raise NotFoundError("there is no such version", where=ref, hint=f"`modelbook models {name}` lists them")


def _in_mlflow_if_it_answers(config: Config, names: list[str]) -> "list[MLflowVersion]":
    try:
        return list(_in_mlflow(config, names))
    except StoreAwayError as error:
        if sqlite_path(config.tracking_uri) is not None:
            raise
        PipelineLogger("models").warning(
            f"{error.what} ({error.where}: {error.got}): these are the versions that are known here"
        )
        return []


def _waiting(config: Config) -> Iterator[tuple[RunStarted, ModelRegistered]]:
    for events in waiting_events(config):
        start = began(events)
        yield from ((start, event) for event in events if start and isinstance(event, ModelRegistered))


def _with_waiting(known: list[VersionSummary], config: Config) -> list[VersionSummary]:
    digests = {(event.name, event.digest) for _, event in _waiting(config)}
    return [
        version.model_copy(update={"is_waiting": not version.version and _key(version) in digests})
        for version in known
    ]


def _only_waiting(known: list[VersionSummary], config: Config, name: str | None) -> list[VersionSummary]:
    """Return what waits and is in neither registry, as a model that was registered by hand."""
    there = {_key(version) for version in known}
    found = {
        (event.name, event.digest): VersionSummary(
            name=event.name,
            version=None,
            local_version=None,
            stage="None",
            aliases=(),
            gate=event.tags.get(GATE_TAG),
            metrics={},
            created_at=start.started_at,
            size_bytes=None,
            run_id=start.run_id or start.uid,
            digest=event.digest,
            is_waiting=True,
        )
        for start, event in _waiting(config)
        if name in {None, event.name}
    }
    return [version for key, version in found.items() if key not in there]


def _key(version: VersionSummary) -> tuple[str, str | None]:
    return version.name, version.digest


def _in_mlflow(config: Config, names: list[str]) -> Iterator["MLflowVersion"]:
    client = open_client(config)
    with store_errors(config.tracking_uri):
        for name in names:
            token: Any = None
            while True:
                page = client.search_model_versions(name_filter(name), page_token=token)
                for version in page:
                    yield client.get_model_version(name, version.version)
                token = page.token
                if not token:
                    break


def _merged(
    entry: ModelVersion, remote: "MLflowVersion | None", *, commit: str | None, gate: GateVerdict
) -> VersionSummary:
    return VersionSummary(
        name=entry.name,
        version=entry.mlflow_version if remote else None,
        local_version=entry.version,
        stage=_stage(remote) if remote else entry.stage,
        aliases=tuple(remote.aliases) if remote else (),
        gate=gate,
        metrics=entry.metrics,
        created_at=entry.created_at,
        size_bytes=entry.size_bytes,
        run_id=entry.run_id,
        digest=entry.model.digest if entry.model else None,
        commit=commit,
        removed_at=entry.removed_at,
    )


def _stage(remote: "MLflowVersion") -> Stage:
    """Return the stage that MLflow's aliases give a version; the tag says whether it ever had one."""
    if PRODUCTION in remote.aliases:
        return "Production"
    if STAGING in remote.aliases:
        return "Staging"
    return "None" if remote.tags.get(STAGE_TAG, "None") == "None" else "Archived"


def _only_in_mlflow(config: Config, versions: "list[MLflowVersion]") -> list[VersionSummary]:
    """Return versions that other clones registered, with what the runs that made them tell."""
    if not versions:
        return []
    client = open_client(config)
    with store_errors(config.tracking_uri):
        runs = {version.run_id: _run(client, version.run_id) for version in versions if version.run_id}
    return [_of_others(version, runs.get(version.run_id or "")) for version in versions]


def _run(client: "MlflowClient", run_id: str) -> "Run | None":
    return or_none(lambda: client.get_run(run_id))


def _of_others(remote: "MLflowVersion", run: "Run | None") -> VersionSummary:
    return VersionSummary(
        name=remote.name,
        version=str(remote.version),
        local_version=None,
        stage=_stage(remote),
        aliases=tuple(remote.aliases),
        gate=remote.tags.get(GATE_TAG),
        metrics=held_out_metrics(run.data.metrics) if run else {},
        created_at=datetime.fromtimestamp(remote.creation_timestamp / 1000, tz=UTC),
        size_bytes=None,
        run_id=remote.run_id,
        digest=remote.tags.get(DIGEST_TAG),
        commit=run.data.tags.get("mlflow.source.git.commit") if run else None,
    )
