"""MLflow's tracking store: made where it is missing, opened, and asked cheaply what it holds."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from filelock import FileLock

from modelbook.config import Config, mask_password
from modelbook.errors import ModelbookError, StoreAwayError, TrackingStoreError
from modelbook.files import whole_file
from modelbook.tracking.absent import or_none
from modelbook.tracking.address import database_port, sqlite_path
from modelbook.tracking.patience import PatientClient, within
from modelbook.tracking.probing import is_answering, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow import MlflowClient

PATIENCE_S = 4.0

_PROBE_S = 1.0  # what a probe may take of the 5 s of a run before the calls after it get less
_LEAST_S = 0.5
_LOCKED_S = 20.0
_FIRST_ANSWER_S = 60.0  # a database that MLflow has not used before is laid out first
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_REFUSALS = frozenset(
    {
        "BAD_REQUEST",
        "CUSTOMER_UNAUTHORIZED",
        "INVALID_PARAMETER_VALUE",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
    }
)
_FILE_STORE_HINT = (
    "MLflow refuses file stores since 3.13: move its runs into a database with "
    "`mlflow migrate-filestore --source mlruns --target sqlite:///logs/mlflow.db`"
)


def import_client() -> None:
    """Import what `open_client` takes, which is seconds: for a thread in which nobody waits for it."""
    _set_environment()
    import_module("mlflow.tracking.client")


def open_client(config: Config) -> "MlflowClient":
    """Return a client of the tracking store, which answers and lets us in.

    A SQLite database that does not exist yet is made first, by one process while the others wait.

    Raises:
        StoreAwayError: The store does not answer, or lets nobody in.
        TrackingStoreError: It is damaged, or of a kind that MLflow refuses.
    """
    return _open(config, _ask(config, PATIENCE_S))


def open_patient(config: Config, *, patience_s: float = PATIENCE_S) -> "MlflowClient":
    """Return such a client each of whose calls is given up after a while, where the store is no file.

    Args:
        config: The project.
        patience_s: How long a call may take; what it took to get a first answer, beyond a second, counts.

    Raises:
        StoreAwayError: The store does not answer, or lets nobody in.
        TrackingStoreError: It is damaged, or of a kind that MLflow refuses.
    """
    uri = config.tracking_uri
    left_s = _ask(config, patience_s)
    client = _open(config, left_s)
    if sqlite_path(uri) is not None:
        return client
    patient = PatientClient(client, limit_s=left_s, is_answering=partial(is_answering, uri))
    return cast("MlflowClient", patient)


def _ask(config: Config, patience_s: float) -> float:
    """Ask whether the store answers, and return how much of the patience is left."""
    _set_environment()
    uri = config.tracking_uri
    _refuse_file_store(uri)
    began = time.monotonic()
    probe(uri)
    return _left(patience_s, time.monotonic() - began - _PROBE_S)


def _set_environment() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _open(config: Config, limit_s: float) -> "MlflowClient":
    uri = config.tracking_uri
    from mlflow import MlflowClient

    # MLflow logs a database's error with its traceback, and raises it too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with store_errors(uri):
        if path := sqlite_path(uri):
            _make_database(path, config)
        make = partial(MlflowClient, tracking_uri=uri, registry_uri=uri)
        return _let_in(uri, make, limit_s) if database_port(uri) is not None else make()


def _let_in(uri: str, make: "Callable[[], MlflowClient]", limit_s: float) -> "MlflowClient":
    """Return a client of a database, once that let us in.

    MLflow would try for 100 s and more where it does not: a wrong password, a server that is starting.
    """
    answers = partial(is_answering, uri)
    engine = _engine(uri)  # what importing it takes is not the store's time
    began = time.monotonic()
    try:
        within(lambda: engine.connect().close(), limit_s=limit_s, is_answering=answers)
    finally:
        engine.dispose()
    left_s = _left(limit_s, time.monotonic() - began)
    return within(make, limit_s=left_s, longer_s=_FIRST_ANSWER_S, is_answering=answers)


def _engine(uri: str) -> Any:
    """Return what connects to a database."""
    from mlflow.store.db.utils import create_sqlalchemy_engine

    try:
        return create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
    except ImportError as error:
        raise no_driver(uri, error) from error


def no_driver(uri: str, error: ImportError) -> TrackingStoreError:
    """Return what to say of a database that nothing is installed to talk to."""
    return TrackingStoreError(
        "the database's driver is not installed",
        where=mask_password(uri),
        got=str(error),
        hint="install it; for PostgreSQL: pip install 'modelbook[postgres]', and postgresql+psycopg://…",
    )


def _left(patience_s: float, taken_s: float) -> float:
    return max(_LEAST_S, patience_s - max(0.0, taken_s))


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow and its database say of an unusable store into our own errors.

    Raises:
        TrackingStoreError: The store answers, and refuses what was asked.
        StoreAwayError: It does not answer or breaks down.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        is_refusal = getattr(error, "error_code", None) in _REFUSALS
        raise (TrackingStoreError if is_refusal else StoreAwayError)(
            "the tracking store cannot be used",
            where=mask_password(uri),
            got=_reason(error),
            hint="see that it runs and answers, and run the command again; `modelbook doctor` looks closer",
        ) from error


@contextmanager
def artifact_errors(uri: str) -> Iterator[None]:
    """Turn what the libraries behind artifact stores raise into our own errors: each has a tree of its own.

    Raises:
        TrackingStoreError: The library that talks to such a store is not installed.
        StoreAwayError: The store breaks down or lets nobody in.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (ModelbookError, MlflowException, OSError):
        raise
    except ImportError as error:
        raise TrackingStoreError(
            "what talks to the artifact store is not installed",
            where=f"the artifacts of {mask_password(uri)}",
            got=str(error),
            hint="install it: boto3 for s3://, google-cloud-storage for gs://, azure-storage-blob for wasbs://",
        ) from error
    except Exception as error:
        raise StoreAwayError(
            "the artifact store cannot be used",
            where=f"the artifacts of {mask_password(uri)}",
            got=f"{type(error).__name__}: {_reason(error)}",
            hint="see that it is there and lets you in, and run the command again",
        ) from error


@contextmanager
def registering(uri: str) -> Iterator[None]:
    """Be the only process that registers in a SQLite store, so that none makes a number that it takes back.

    Raises:
        Timeout: Another process has been at it for longer than SQLite itself would wait.
    """
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCKED_S):
        yield


def name_filter(name: str) -> str:
    """Return the filter for what is registered under a name, in MLflow's language, which escapes nothing.

    Example:
        >>> print(name_filter("o'brien"))
        name = "o'brien"
    """
    quote = '"' if "'" in name else "'"
    return f"name = {quote}{name}{quote}"


def old_file_store(config: Config) -> str | None:
    """Return what to do about a file store of an older MLflow in the project, if one lies about."""
    is_there = any((config.root / "mlruns").glob("*/meta.yaml"))
    return f"an old MLflow file store lies in mlruns/. {_FILE_STORE_HINT}" if is_there else None


def knows(config: Config, *, run_id: str, model: str, version: str | None) -> bool:
    """Return whether the store holds a run that is finished, and a registered version where one is named.

    A SQLite store is read directly and a server asked by hand, in some 20 ms: importing MLflow for it would
    take longer than everything else that a run without work does. Where the short way fails, MLflow is asked.
    """
    path = sqlite_path(config.tracking_uri)
    if path is None:
        return _client_knows(config, run_id=run_id, model=model, version=version)
    if not path.is_file():
        return False
    try:
        with closing(read_only(path)) as database:
            return _database_knows(database, run_id=run_id, model=model, version=version)
    except sqlite3.Error:
        return _client_knows(config, run_id=run_id, model=model, version=version)


def aliased_version(config: Config, *, model: str, alias: str) -> str | None:
    """Return the version that an alias names in MLflow's registry; None where it names none.

    A SQLite store is read directly, as in `knows`; another store is asked by MLflow's client.

    Raises:
        TrackingStoreError: The store cannot be used.
    """
    path = sqlite_path(config.tracking_uri)
    if path is not None and not path.is_file():
        return None
    if path is not None:
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
        with suppress(sqlite3.Error), closing(read_only(path)) as database:
            row = database.execute(query, (model, alias)).fetchone()
            return None if row is None else str(row[0])
    client = open_client(config)
    with store_errors(config.tracking_uri):
        found = or_none(lambda: client.get_model_version_by_alias(model, alias))
    return str(found.version) if found else None


def _reason(error: BaseException) -> str:
    """Return what the database itself says, where SQLAlchemy and MLflow put words of their own around it."""
    cause: BaseException | None = error
    while cause is not None:
        if (said := getattr(cause, "orig", None)) is not None:
            return str(said).partition("\n")[0]
        cause = cause.__cause__
    return str(error).partition("\n")[0]


def read_only(path: Path) -> sqlite3.Connection:
    """Return a connection to a SQLite store that cannot change it."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _database_knows(database: sqlite3.Connection, *, run_id: str, model: str, version: str | None) -> bool:
    run = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active' AND status = 'FINISHED'"
    if database.execute(run, (run_id,)).fetchone() is None:
        return False
    entry = "SELECT 1 FROM model_versions WHERE name = ? AND version = ?"
    return version is None or database.execute(entry, (model, int(version))).fetchone() is not None


def _client_knows(config: Config, *, run_id: str, model: str, version: str | None) -> bool:
    client = open_patient(config)
    with store_errors(config.tracking_uri):
        run = or_none(lambda: client.get_run(run_id))
        if run is None or (run.info.lifecycle_stage, run.info.status) != ("active", "FINISHED"):
            return False
        return version is None or or_none(lambda: client.get_model_version(model, version)) is not None


def _refuse_file_store(uri: str) -> None:
    if urlsplit(uri).scheme in {"", "file"}:
        raise TrackingStoreError(
            "the tracking store is a folder of files",
            where=uri,
            expected="sqlite:///…, postgresql://… or http(s)://…",
            hint=_FILE_STORE_HINT,
        )


def _make_database(path: Path, config: Config) -> None:
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return
        with whole_file(path) as temporary:
            root = config.path("logs/mlruns").as_uri()
            store = SqlAlchemyStore(f"sqlite:///{temporary}", root)  # type: ignore[no-untyped-call]
            store.engine.dispose()
