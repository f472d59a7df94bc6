"""A version that somebody wants to move: which one it is, and what is on record of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelbook.config import Config
from modelbook.errors import ModelRefusedError, NotFoundError, StoreAwayError
from modelbook.files import file_hash
from modelbook.models.integrity import verify_package
from modelbook.records import GateVerdict, ModelVersion
from modelbook.registry.reference import is_local
from modelbook.registry.registry import ModelRegistry
from modelbook.registry.stored import verify_stored
from modelbook.tracking.absent import or_none
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.events import GATE_TAG
from modelbook.tracking.journal import last_judgements
from modelbook.tracking.store import open_client, store_errors
from modelbook.tracking.versions import DIGEST_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion as MLflowVersion

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Candidate:
    """A version, and what is on record of it.

    Attributes:
        name: The model.
        version: MLflow's number; the local version where the project does without MLflow.
        local: The local registry's entry, where there is one.
        digest: The digest of its fitted state, as recorded.
        run_id: The run that made it.
        judged_run_id: The last run that made the same model and was judged, where MLflow has one.
        verdicts: What the gate said: of the version, of the run that made it, and of the run that made the
            same model last, in the store and in the journal.
        run_tags: The tags of that run, where MLflow has them.
    """

    name: str
    version: str
    local: ModelVersion | None
    digest: str | None
    run_id: str | None
    verdicts: frozenset[GateVerdict]
    run_tags: Mapping[str, str] = field(default_factory=dict)
    judged_run_id: str | None = None

    @property
    def verdict(self) -> GateVerdict:
        """What the gate said last: passed only where nobody said otherwise."""
        for verdict in (GateVerdict.REJECTED, GateVerdict.NONE):
            if verdict in self.verdicts:
                return verdict
        return GateVerdict.PASSED if self.verdicts else GateVerdict.NONE

    @property
    def ref(self) -> str:
        """How the rest of Modelbook calls it."""
        return f"models:/{self.name}/{self.version}"


def find_candidate(config: Config, name: str, version: str) -> Candidate:
    """Return a version by MLflow's number or the local name.

    Raises:
        NotFoundError: There is none.
        StoreAwayError: The store does not answer, or it has no number for the version yet.
        TrackingStoreError: The store cannot be used.
    """
    if not config.training.enable_mlflow:
        return _kept_here(config, ModelRegistry(config).find(name, version))
    local = _local_entry(config, name, version)
    number = local.mlflow_version if local else version
    if number is None:
        raise StoreAwayError(
            "MLflow has not registered the version yet",
            where=f"{name}/{version}",
            hint="`modelbook sync` delivers what waits, and `modelbook run` registers what the store lacks",
        )
    remote, run_tags, judged = _in_mlflow(config, name, number)
    judged_tags = judged.data.tags if judged else {}
    known = local or next(
        (entry for entry in ModelRegistry(config).versions(name) if entry.mlflow_version == number), None
    )
    digest = remote.tags.get(DIGEST_TAG)
    said = (
        remote.tags.get(GATE_TAG),
        run_tags.get(GATE_TAG),
        judged_tags.get(GATE_TAG),
        _judged_here(config, digest),
    )
    return Candidate(
        name=name,
        version=str(remote.version),
        local=known,
        digest=digest,
        run_id=remote.run_id or None,
        judged_run_id=judged.info.run_id if judged else None,
        verdicts=frozenset(_verdict(verdict) for verdict in said if verdict),
        run_tags=run_tags,
    )


def verify_candidate(config: Config, candidate: Candidate) -> None:
    """Return quietly where every file of a version is the recorded one, in each registry that has it.

    Raises:
        ModelRefusedError: A file or a digest is another one.
        NotFoundError: A file is missing in the registry that has the last word.
        TrackingStoreError: The store cannot be used.
    """
    local = candidate.local
    if config.training.enable_mlflow:
        record = verify_stored(config, candidate.ref)
        own = local.model.digest if local and local.model else record.digest
        if not record.digest == candidate.digest == own:
            raise ModelRefusedError(
                "the version has other digests in different places",
                where=f"{candidate.name}/{candidate.version}",
                got=f"{record.digest} in its files, {candidate.digest} in MLflow, {own} in registry.json",
                hint="somebody changed a record: do not use the version, make it again with `modelbook run`",
            )
    is_only_copy = not config.training.enable_mlflow
    if local is not None and (is_only_copy or config.path(local.file).is_file()):
        _verify_here(config, local)


def _verify_here(config: Config, entry: ModelVersion) -> None:
    path = config.path(entry.file)
    if entry.removed_at is not None:
        raise NotFoundError(
            "the version's file was removed to make room", where=f"{entry.name}/{entry.version}"
        )
    if entry.model is not None:
        verify_package(path.parent, entry.model)
    elif not path.is_file():
        raise NotFoundError("the version's file is missing", where=entry.file)
    if (found := file_hash(path)) != entry.sha256:
        raise ModelRefusedError(
            "the version's file is not the one that was registered",
            where=entry.file,
            got=f"sha256 {found}",
            expected=f"sha256 {entry.sha256}",
            hint="it was changed or cut off since: restore it, or make it again",
        )


def _verdict(text: str) -> GateVerdict:
    return GateVerdict(text) if text in list(GateVerdict) else GateVerdict.NONE


def _kept_here(config: Config, entry: ModelVersion) -> Candidate:
    digest = entry.model.digest if entry.model else None
    verdict = _judged_here(config, digest) or entry.gate
    return Candidate(
        name=entry.name,
        version=entry.version,
        local=entry,
        digest=digest,
        run_id=entry.run_id,
        verdicts=frozenset({entry.gate, verdict}),
    )


def _judged_here(config: Config, digest: str | None) -> GateVerdict | None:
    said = last_judgements(config).get(digest or "")
    return said.gate.verdict if said else None


def _local_entry(config: Config, name: str, version: str) -> ModelVersion | None:
    return ModelRegistry(config).find(name, version) if is_local(version) else None


def _in_mlflow(
    config: Config, name: str, number: str
) -> "tuple[MLflowVersion, Mapping[str, str], Run | None]":
    """Return a version, the tags of its run, and the run of its model that was judged last, if any."""
    absent = NotFoundError(
        "there is no such version", where=f"{name}/{number}", hint=f"`modelbook models {name}` lists them"
    )
    path = sqlite_path(config.tracking_uri)
    if path is not None and not path.is_file():
        raise absent
    client = open_client(config)
    with store_errors(config.tracking_uri):
        version = or_none(lambda: client.get_model_version(name, number))
        if version is None:
            raise absent
        run_id = version.run_id
        run = or_none(lambda: client.get_run(run_id)) if run_id else None
        if run is None:
            return version, {}, None
        return version, run.data.tags, _judged_last(client, run, version.tags.get(DIGEST_TAG, ""))


def _judged_last(client: "MlflowClient", run: "Run", digest: str) -> "Run | None":
    """Return the last run of an experiment, of any clone, that made a model and was judged."""
    if not _DIGEST.fullmatch(digest):
        return None
    query = f"tags.`{DIGEST_TAG}` = '{digest}' and tags.`{GATE_TAG}` != 'none'"
    places, order = [run.info.experiment_id], ["attributes.start_time DESC"]
    found = client.search_runs(places, query, max_results=1, order_by=order)
    return found[0] if found else None
