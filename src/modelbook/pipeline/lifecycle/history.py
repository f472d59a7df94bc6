"""What the ledger says of a model, and whether it is whole."""

from typing import Literal

from modelbook.config import Config, ConfigLike, load_config
from modelbook.errors import NotFoundError, StoreAwayError
from modelbook.logs import PipelineLogger
from modelbook.records import Record
from modelbook.registry.books import Standing, has_books, mirror_path, open_books
from modelbook.registry.ledger import Aliases, LedgerEntry, read_entries, read_mirror
from modelbook.registry.promotion import mend_interrupted
from modelbook.registry.registry import ModelRegistry


class History(Record):
    """How a model's versions went to production and back.

    Attributes:
        name: The model.
        aliases: What is in production and in staging.
        entries: The entries that are what their hashes say, the oldest first.
        faults: What is wrong with the ledger, one each; none where it is whole.
        source: Where this was read: in MLflow's store, or in the project alone.
    """

    name: str
    aliases: Aliases
    entries: tuple[LedgerEntry, ...]
    faults: tuple[str, ...]
    source: Literal["mlflow", "local"]


def read_history(config: ConfigLike, name: str) -> History:
    """Return what the ledger says of a model.

    With the tracking server away this is what the project's copy says.

    Raises:
        NotFoundError: There is no such model.
        TrackingStoreError: The store cannot be used.
    """
    settings = load_config(config)
    mend_interrupted(settings)
    try:
        standing = open_books(settings, name).read() if has_books(settings) else _copy(settings, name)
    except StoreAwayError as error:
        PipelineLogger("history").warning(
            f"{error.what} ({error.where}: {error.got}): this is the project's copy of the ledger"
        )
        standing = _copy(settings, name)
    if not standing.is_known and not standing.mirror:
        raise NotFoundError("there is no such model", where=name, hint="`modelbook models` lists them")
    return History(
        name=name,
        aliases=standing.aliases,
        entries=standing.entries,
        faults=(*standing.faults, *standing.mirror_faults),
        source="mlflow" if standing.is_in_store else "local",
    )


def _copy(config: Config, name: str) -> Standing:
    lines = read_mirror(mirror_path(config, name))
    entries = read_entries(lines)
    registry = ModelRegistry(config)
    return Standing(
        aliases=entries[-1].after if entries else Aliases(),
        numbered=dict(enumerate(lines, start=1)),
        head=registry.ledger_head(name),
        is_known=bool(registry.versions(name) or lines),
        is_in_store=False,
    )
