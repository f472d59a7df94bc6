"""Whether a tracking store answers at all, asked in seconds: MLflow itself would try for minutes."""

import socket
import struct
import urllib.error
import urllib.request
from functools import partial
from urllib.parse import urlsplit

from modelbook.config import mask_password
from modelbook.errors import StoreAwayError
from modelbook.tracking.address import database_port, is_remote, sqlite_path
from modelbook.tracking.patience import within

_PROBE_TIMEOUT_S = 3.0
_TLS_REQUEST = struct.pack("!ii", 8, 80877103)  # Source: PostgreSQL 17, 53.7, SSLRequest


def probe(uri: str) -> None:
    """Return quietly where a server or a database answers; a file is not looked at.

    Raises:
        StoreAwayError: It does not, within 3 s. Looking up its name may take as long by itself, and has no
            limit of its own; nor has a server that answers drop by drop.
    """
    if sqlite_path(uri) is not None:
        return
    try:
        within(partial(_reach, uri), limit_s=_PROBE_TIMEOUT_S, is_answering=lambda: False)
    except (OSError, ValueError, StoreAwayError) as error:
        raise StoreAwayError(
            "the tracking server does not answer",
            where=mask_password(uri),
            got=str(getattr(error, "got", None) or getattr(error, "reason", error)),
            hint="start it, or correct MLFLOW_TRACKING_URI or tracking.uri",
        ) from error


def is_answering(uri: str) -> bool:
    """Return whether a server or a database answers."""
    try:
        probe(uri)
    except StoreAwayError:
        return False
    return True


def _reach(uri: str) -> None:
    parts = urlsplit(uri)
    if is_remote(uri):
        _ask_health(uri)
    elif parts.hostname:
        _connect(
            parts.hostname,
            parts.port or database_port(uri),
            is_postgresql=parts.scheme.startswith("postgres"),
        )


def _ask_health(uri: str) -> None:
    parts = urlsplit(uri)
    # Without the user and the password, which urllib would take for the host's name and port.
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"{parts.path.rstrip('/')}/health")
    try:
        with urllib.request.urlopen(address.geturl(), timeout=_PROBE_TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        error.close()  # it answers, if only to ask who calls


def _connect(host: str, port: int | None, *, is_postgresql: bool) -> None:
    """Connect to a database's port, and ask PostgreSQL whether it speaks TLS, as every client begins.

    MLflow itself would try for 100 s and more where nobody answers.
    """
    if port is None:
        return
    with socket.create_connection((host, port), timeout=_PROBE_TIMEOUT_S) as connection:
        if is_postgresql:
            connection.sendall(_TLS_REQUEST)
            if connection.recv(1) not in {b"S", b"N"}:
                raise ConnectionResetError("what answers is no PostgreSQL")
