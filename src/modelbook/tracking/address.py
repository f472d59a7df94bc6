"""What the address of a tracking store says: a file, a database, or a server."""

from pathlib import Path
from urllib.parse import urlsplit

_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def is_remote(uri: str) -> bool:
    """Return whether a tracking store is a server that answers HTTP."""
    return urlsplit(uri).scheme in {"http", "https"}


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite store, and None for other stores.

    Example:
        >>> sqlite_path("sqlite:///logs/mlflow.db")
        PosixPath('logs/mlflow.db')
    """
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def database_port(uri: str) -> int | None:
    """Return the port that a database server of this kind has by default; None for other stores.

    Example:
        >>> database_port("postgresql+psycopg2://host/name")
        5432
    """
    return _DATABASE_PORTS.get(urlsplit(uri).scheme.partition("+")[0])
