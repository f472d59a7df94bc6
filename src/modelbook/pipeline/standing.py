"""How the registries stand with each other: interrupted moves finished, and what else is amiss named."""

from collections.abc import Iterator

from modelbook.config import Config
from modelbook.errors import ModelbookError, UsageError
from modelbook.pipeline.finding import Finding, amiss, failed, well
from modelbook.registry.books import Standing, has_books, mirror_path, open_books
from modelbook.registry.promotion import bring_in_line, mend_interrupted
from modelbook.registry.registry import ModelRegistry

_SHOWN = 5


def examine_standing(config: Config) -> Iterator[Finding]:
    """Yield what can be said of a project's ledgers and registries; of a store that fails nothing is."""
    for line in mend_interrupted(config):
        yield well("promotion", line)
    if not has_books(config):
        return
    try:
        names = {version.name for version in ModelRegistry(config).versions()}
        standings = {
            name: open_books(config, name).read() for name in sorted({*names, config.tracking.model_name})
        }
    except UsageError as error:
        yield failed("ledger", error)
        return
    except ModelbookError:
        return
    for name, standing in standings.items():
        if standing.is_known or standing.mirror:
            yield from _of_model(config, name, standing)


def _of_model(config: Config, name: str, standing: Standing) -> Iterator[Finding]:
    faults = (*standing.faults, *standing.mirror_faults)
    if faults:
        yield amiss("ledger", f"{name}: {_some(faults)}", _way_out(name, standing))
    elif standing.entries:
        yield well("ledger", f"{name}: {len(standing.entries)} entries, whole")
    if aside := sorted(path.name for path in mirror_path(config, name).parent.glob("damaged_*.jsonl")):
        hint = "find out who changed them, and take them away"
        yield amiss("ledger", f"{name}: damaged copies were put aside: {_some(aside)}", hint)
    yield from _past_modelbook(name, standing)
    if not faults:
        yield from _mended(config, name)
    yield from _out_of_step(config, name, standing)


def _way_out(name: str, standing: Standing) -> str:
    if not standing.is_known:
        return "the store does not know the model: check tracking.uri; `modelbook run` registers it anew"
    if standing.is_restorable and not standing.is_deleted:
        return (
            f"the project's copy is whole, as `modelbook history {name}` shows without a store: the next "
            "promotion or rollback writes back what the store lost"
        )
    if standing.is_deleted:
        return f"`modelbook history {name}` shows it all the same, and the next promotion restores it"
    if not standing.doubts and any(fault.startswith("copy:") for fault in standing.mirror_faults):
        return (
            "the store's ledger is whole: the next promotion puts the damaged copy aside and writes it anew"
        )
    return (
        f"`modelbook history {name}` shows what is whole; restore the other from a backup: until then "
        "promotions take --force, and rollback refuses"
    )


def _past_modelbook(name: str, standing: Standing) -> Iterator[Finding]:
    """Say where aliases are not what the ledger says: somebody moved them in MLflow itself."""
    if not standing.entries or standing.head_number < standing.last_number:
        return
    said, found = standing.entries[-1].after, standing.aliases
    for stage in ("production", "staging"):
        one, other = getattr(said, stage), getattr(found, stage)
        if one != other:
            detail = f"{name}: {other or 'nothing'} is in {stage}, and the ledger says {one or 'nothing'}"
            hint = "it was moved past Modelbook: `modelbook promote` moves it with an entry in the ledger"
            yield amiss("aliases", detail, hint)


def _mended(config: Config, name: str) -> Iterator[Finding]:
    """Bring the project in line with the store, and say what that took."""
    before = {version.version: version.stage for version in ModelRegistry(config).versions(name)}
    try:
        said = bring_in_line(config, name)
    except ModelbookError as error:
        yield failed("registries", error)
        return
    said += [
        f"{name} {version.version} was {before[version.version]} in registry.json and is {version.stage}"
        for version in ModelRegistry(config).versions(name)
        if before.get(version.version, version.stage) != version.stage
    ]
    for line in said:
        yield well("registries", f"mended: {line}")


def _out_of_step(config: Config, name: str, standing: Standing) -> Iterator[Finding]:
    """Say which entries of the local registry name a version that MLflow does not have, or has another of."""
    if not config.training.enable_mlflow:
        return
    wrong = []
    for entry in ModelRegistry(config).versions(name):
        number, digest = entry.mlflow_version, entry.model.digest if entry.model else None
        if number is None:
            continue
        if number not in standing.digests:
            wrong.append(f"{entry.version} is to be version {number}, which MLflow does not have")
        elif digest and standing.digests[number] not in {"", digest}:
            wrong.append(f"{entry.version} is to be version {number}, which is another model in MLflow")
    if wrong:
        hint = "was the database replaced? `modelbook run` registers the model that lies in the project anew"
        yield amiss("registries", f"{name}: {_some(wrong)}", hint)


def _some(words: tuple[str, ...] | list[str]) -> str:
    further = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return "; ".join(words[:_SHOWN]) + further
