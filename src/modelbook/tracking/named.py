"""Which version a name means in MLflow's registry, asked in some 20 ms without importing MLflow.

A server is asked over its REST API, a database with two small queries that cannot change it.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from threading import Lock
from typing import Any

from modelbook.config import Config, mask_password
from modelbook.errors import StoreAwayError
from modelbook.tracking.address import is_remote, sqlite_path
from modelbook.tracking.patience import within
from modelbook.tracking.probing import probe
from modelbook.tracking.rest import ask_server
from modelbook.tracking.store import PATIENCE_S, name_filter, no_driver, read_only
from modelbook.tracking.versions import DIGEST_TAG

_THERE = "FROM model_versions WHERE current_stage <> 'Deleted_Internal' AND name = :name"
_NEWEST = f"SELECT max(version) {_THERE}"
_NUMBERED = f"SELECT version {_THERE} AND version = :version"
_ALIASED = "SELECT version FROM registered_model_aliases WHERE name = :name AND alias = :alias"
_TAGGED = "SELECT value FROM model_version_tags WHERE name = :name AND version = :version AND {key} = :tag"

# A database that is cut off says nothing, and is given up after so long.
_POSTGRESQL_LIMITS = {
    "connect_timeout": 4,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_MYSQL_LIMITS = {"connect_timeout": 4, "read_timeout": 10}
_LIMITS = {
    "psycopg": _POSTGRESQL_LIMITS,
    "psycopg2": _POSTGRESQL_LIMITS,
    "mysqldb": _MYSQL_LIMITS,
    "pymysql": _MYSQL_LIMITS,
}
_IN_TIME = "SET LOCAL statement_timeout = '4s'"

_Ask = Callable[[str, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class NamedVersion:
    """A version in MLflow's registry, and the digest of its fitted state; None where nobody said."""

    version: str
    digest: str | None


def named_version(
    config: Config,
    name: str,
    *,
    alias: str | None = None,
    version: str | None = None,
    limit_s: float = PATIENCE_S,
    environ: Mapping[str, str] = os.environ,
) -> NamedVersion | None:
    """Return the version of a model that an alias names, or that has a number, or else the newest one.

    Args:
        config: The project.
        name: The model.
        alias: The alias.
        version: The number.
        limit_s: How long an answer may take.
        environ: Says who we are to a server, by the variables that MLflow's client reads.

    Returns:
        None where there is no such version.

    Raises:
        StoreAwayError: The store does not answer, or not in time.
        TrackingStoreError: It does not let us in.
    """
    uri = config.tracking_uri
    words = {"name": name} | ({"alias": alias} if alias else {"version": version} if version else {})
    if is_remote(uri):
        return _of_server(uri, words, limit_s=limit_s, environ=environ)
    path = sqlite_path(uri)
    if (path and not path.is_file()) or (version and not version.isdecimal()):
        return None
    with _database_errors(uri):
        probe(uri)
        ask = partial(_of_database, uri, words)
        return within(ask, limit_s=limit_s, is_answering=lambda: False)


def _of_server(
    uri: str, words: Mapping[str, str], *, limit_s: float, environ: Mapping[str, str]
) -> NamedVersion | None:
    if "alias" in words:
        what = "registered-models/alias"
    elif "version" in words:
        what = "model-versions/get"
    else:
        what = "model-versions/search"
        name = name_filter(words["name"])
        words = {"filter": name, "max_results": "1", "order_by": "version_number DESC"}
    answer = ask_server(uri, what, words, limit_s=limit_s, environ=environ)
    found = answer.get("model_version") or next(iter(answer.get("model_versions", ())), None)
    if found is None:
        return None
    tags = {tag["key"]: tag.get("value") for tag in found.get("tags", ())}
    return NamedVersion(str(found["version"]), tags.get(DIGEST_TAG))


def _of_database(uri: str, words: Mapping[str, str]) -> NamedVersion | None:
    """Ask a database, unless it still owes an answer: questions that were given up would pile up."""
    question = _question(uri)
    if not question.acquire(blocking=False):
        raise StoreAwayError(
            "the tracking store has not answered the last question", where=mask_password(uri)
        )
    try:
        return _answered(uri, words)
    finally:
        question.release()


@cache
def _question(uri: str) -> Lock:  # noqa: ARG001 (each database has a lock of its own)
    """Return what is held while a database is asked."""
    return Lock()


def _answered(uri: str, words: Mapping[str, str]) -> NamedVersion | None:
    query = _ALIASED if "alias" in words else _NUMBERED if "version" in words else _NEWEST
    values = {**words, "version": int(words["version"])} if "version" in words else words
    with _asking(uri) as (ask, key):
        number = ask(query, values)
        if number is None:
            return None
        tag = {"name": words["name"], "version": int(number), "tag": DIGEST_TAG}
        return NamedVersion(str(number), ask(_TAGGED.format(key=key), tag))


@contextmanager
def _asking(uri: str) -> Iterator[tuple[_Ask, str]]:
    """Yield what returns the first value that a query finds, and how the database spells the column `key`."""
    if (path := sqlite_path(uri)) is not None:
        with closing(read_only(path)) as database:
            yield lambda query, values: _first(database.execute(query, values).fetchone()), '"key"'
        return
    from sqlalchemy import create_engine, make_url, text
    from sqlalchemy.pool import NullPool

    limits = _LIMITS.get(make_url(uri).get_driver_name(), {})
    engine = create_engine(uri, poolclass=NullPool, connect_args=limits)
    with engine.connect() as database:
        if engine.dialect.name == "postgresql":
            database.execute(text(_IN_TIME))
        key = engine.dialect.identifier_preparer.quote_identifier("key")
        yield lambda query, values: _first(database.execute(text(query), values).first()), key


def _first(row: Any) -> Any:
    return None if row is None else row[0]


@contextmanager
def _database_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise no_driver(uri, error) from error
    except Exception as error:
        if not isinstance(error, sqlite3.Error) and not type(error).__module__.startswith("sqlalchemy."):
            raise
        raise StoreAwayError(
            "the tracking store cannot be used",
            where=mask_password(uri),
            got=str(getattr(error, "orig", error)).partition("\n")[0],
            hint="see that it runs and answers; `modelbook doctor` looks closer",
        ) from error
