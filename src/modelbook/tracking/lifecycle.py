"""What MLflow's registry holds of a model's way to production: aliases, stages, and the ledger of each move.

The ledger is a run in an experiment of its own, and each of its entries is a parameter of that run. A store
lets nobody write a parameter a second time with another value: of two processes that add the same entry, on
whatever machine, one is refused, and what was written once is changed or taken away by no call of MLflow's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelbook.tracking.absent import or_none
from modelbook.tracking.store import name_filter

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import RegisteredModel

EXPERIMENT = "modelbook-ledger"
STAGE_TAG = "modelbook.stage"
HEAD_TAG = "modelbook.ledger_head"

_RUN_TAG = "modelbook.ledger"
_NAME_TAG = "modelbook.ledger_of"
_ENTRY = re.compile(r"entry\.(\d{6})")
_LONGEST = 5000  # MLflow's parameters end at 6,000 characters
_IN_PARTS = re.compile(r"parts (\d+) ([0-9a-f]{12})")


@dataclass(frozen=True)
class Holding:
    """What the registry holds of one model.

    Attributes:
        aliases: The version that each alias names.
        lines: The lines of the ledger by their number.
        head: Number and hash of the entry that the aliases were last moved by; None before the first.
        is_deleted: Whether somebody deleted the run that is the ledger.
        digests: The digest of each version's fitted state, empty where nobody said.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[int, str] = field(default_factory=dict)
    head: str | None = None
    is_deleted: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)


def read_holding(client: "MlflowClient", name: str, *, digest_tag: str) -> Holding | None:
    """Return what the registry holds of a model; None where it does not know the model.

    Args:
        client: The store.
        name: The model.
        digest_tag: The tag that a version carries its digest in.
    """
    if (model := _registered_model(client, name)) is None:
        return None
    run = _ledger_run(client, model)
    return Holding(
        aliases={alias: str(version) for alias, version in model.aliases.items()},
        lines=_lines(run.data.params) if run else {},
        head=model.tags.get(HEAD_TAG),
        is_deleted=run is not None and run.info.lifecycle_stage != "active",
        digests=_digests(client, name, digest_tag),
    )


def add_line(client: "MlflowClient", name: str, *, number: int, line: str, experiment_id: str) -> bool:
    """Add a line to a model's ledger, which is made if need be; return whether it has that number now.

    Doing it twice changes nothing. False says that another line has the number.

    Args:
        client: The store.
        name: The model.
        number: The line's number.
        line: The line.
        experiment_id: The experiment that ledgers are kept in.
    """
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    run_id = _ensure_ledger(client, name, experiment_id)
    key = f"entry.{number:06}"
    value, parts = _divided(line)
    if parts:  # by their own content, so that they are never in another's way
        client.log_batch(run_id, params=[Param(part, text) for part, text in parts.items()])
    try:
        client.log_param(run_id, key, value)
    except MlflowException:
        if client.get_run(run_id).data.params.get(key) in {None, value}:
            raise
        return False
    # Of two that begin a ledger at once, one has written into what is no ledger.
    return bool(client.get_registered_model(name).tags.get(_RUN_TAG) == run_id)


def restore_ledger(client: "MlflowClient", name: str) -> None:
    """Bring back a model's ledger that somebody deleted in MLflow, by itself or with its experiment.

    Args:
        client: The store.
        name: The model.
    """
    run = _ledger_run(client, client.get_registered_model(name))
    if run is None:
        return
    experiment = client.get_experiment(run.info.experiment_id)
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    client.restore_run(run.info.run_id)


def set_stages(
    client: "MlflowClient",
    name: str,
    *,
    aliases: Mapping[str, str | None],
    stages: Mapping[str, str],
    head: str,
) -> None:
    """Let aliases name versions and tags say their stages; doing it twice changes nothing.

    Args:
        client: The store.
        name: The model.
        aliases: The version that each alias is to name; None for none.
        stages: The stage of each version that is concerned.
        head: Number and hash of the entry that says so, which is noted when all is done.
    """
    model = client.get_registered_model(name)
    current = {alias: str(version) for alias, version in model.aliases.items()}
    for alias, version in aliases.items():
        if version is not None and current.get(alias) != version:
            client.set_registered_model_alias(name, alias, version)
        elif version is None and alias in current:
            client.delete_registered_model_alias(name, alias)
    for version, stage in stages.items():
        client.set_model_version_tag(name, version, STAGE_TAG, stage)
    client.set_registered_model_tag(name, HEAD_TAG, head)


def _registered_model(client: "MlflowClient", name: str) -> "RegisteredModel | None":
    return or_none(lambda: client.get_registered_model(name))


def _digests(client: "MlflowClient", name: str, tag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    token: str | None = None
    while True:
        page = client.search_model_versions(name_filter(name), max_results=1000, page_token=token)
        found |= {str(version.version): version.tags.get(tag, "") for version in page}
        token = page.token
        if not token:
            return found


def _ledger_run(client: "MlflowClient", model: "RegisteredModel") -> "Run | None":
    """Return the ledger of a model: the run that the model's tag names, or else the oldest that says so."""
    run_id = model.tags.get(_RUN_TAG)
    if run_id and (run := or_none(lambda: client.get_run(run_id))):
        return run
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return None
    quote = '"' if "'" in model.name else "'"
    query = f"tags.`{_NAME_TAG}` = {quote}{model.name}{quote}"
    found = client.search_runs(
        [experiment.experiment_id], query, max_results=1, order_by=["attributes.start_time"]
    )
    return found[0] if found else None


def _ensure_ledger(client: "MlflowClient", name: str, experiment_id: str) -> str:
    model = client.get_registered_model(name)
    run = _ledger_run(client, model)
    if run is None:
        tags = {_NAME_TAG: name, "mlflow.source.name": "modelbook promote"}
        run = client.create_run(experiment_id, tags=tags, run_name=f"ledger of {name}")
        client.set_terminated(run.info.run_id)
    if model.tags.get(_RUN_TAG) != run.info.run_id:
        client.set_registered_model_tag(name, _RUN_TAG, run.info.run_id)
        model = client.get_registered_model(name)  # of two that begin at once, the later tag counts
    return str(model.tags[_RUN_TAG])


def _divided(line: str) -> tuple[str, dict[str, str]]:
    """Return what stands in an entry's parameter, and the parts of a line that is too long for one."""
    if len(line) <= _LONGEST:
        return line, {}
    sha12 = line[:12]
    pieces = [line[start : start + _LONGEST] for start in range(0, len(line), _LONGEST)]
    parts = {f"part.{sha12}.{number}": piece for number, piece in enumerate(pieces)}
    return f"parts {len(pieces)} {sha12}", parts


def _lines(params: Mapping[str, str]) -> dict[int, str]:
    numbered = ((_ENTRY.fullmatch(key), value) for key, value in params.items())
    found = {int(key[1]): _whole(value, params) for key, value in numbered if key}
    return dict(sorted(found.items()))


def _whole(value: str, params: Mapping[str, str]) -> str:
    if (parts := _IN_PARTS.fullmatch(value)) is None:
        return value
    return "".join(params.get(f"part.{parts[2]}.{number}", "") for number in range(int(parts[1])))
