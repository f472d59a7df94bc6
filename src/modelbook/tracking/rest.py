"""MLflow's server asked over its public REST API, in some 20 ms and without importing MLflow."""

import base64
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from modelbook.config import mask_password
from modelbook.errors import StoreAwayError, TrackingStoreError
from modelbook.tracking.absent import ABSENT_CODES

_API = "/api/2.0/mlflow/"
_LONGEST_BYTES = 1_000_000
_REFUSED = frozenset({401, 403})


def ask_server(
    uri: str, what: str, words: Mapping[str, str], *, limit_s: float, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Return what MLflow's server answers to a question; nothing where it has no such thing.

    Args:
        uri: The server, with a user and a password where it wants them.
        what: What is asked, as the path after MLflow's prefix.
        words: The question's parameters.
        limit_s: How long the server may be silent.
        environ: Says who we are, by the variables that MLflow's client reads.

    Raises:
        StoreAwayError: It does not answer, or what answers is no MLflow.
        TrackingStoreError: It lets us not in.
    """
    parts = urlsplit(uri)
    place = parts._replace(
        netloc=parts.netloc.rpartition("@")[2],  # urllib would take the user for a part of the host
        path=f"{parts.path.rstrip('/')}{_API}{what}",
        query=urlencode(words),
    )
    request = urllib.request.Request(place.geturl())  # noqa: S310 (http or https)
    for name, value in _account(uri, environ).items():
        request.add_unredirected_header(name, value)  # not for those that the server may send us on to
    try:
        with urllib.request.urlopen(request, timeout=limit_s, context=_trust(uri, environ)) as response:  # noqa: S310
            return _parsed(response.read(_LONGEST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return _refusal(uri, error.code, error.read(_LONGEST_BYTES))
    except (OSError, ValueError) as error:
        raise _away(uri, str(getattr(error, "reason", error))) from error


def _account(uri: str, environ: Mapping[str, str]) -> dict[str, str]:
    parts = urlsplit(uri)
    user = environ.get("MLFLOW_TRACKING_USERNAME") or unquote(parts.username or "")
    password = environ.get("MLFLOW_TRACKING_PASSWORD") or unquote(parts.password or "")
    if user:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    token = environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _trust(uri: str, environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return which certificates are trusted, as MLflow's client is told it."""
    if not uri.startswith("https"):
        return None
    context = ssl.create_default_context(cafile=environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None)
    if environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in {"true", "1"}:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _parsed(content: bytes) -> dict[str, Any]:
    answer = json.loads(content)
    if not isinstance(answer, dict):
        raise ValueError("what answers is no MLflow")  # noqa: TRY004 (as JSON that cannot be read)
    return answer


def _refusal(uri: str, status: int, content: bytes) -> dict[str, Any]:
    try:
        code = _parsed(content).get("error_code")
    except ValueError:
        code = None
    if code in ABSENT_CODES:
        return {}
    got = f"HTTP {status}" + (f", {code}" if isinstance(code, str) else "")
    if status in _REFUSED:
        raise TrackingStoreError(
            "the tracking server does not let us in",
            where=mask_password(uri),
            got=got,
            hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    raise _away(uri, got)


def _away(uri: str, got: str) -> StoreAwayError:
    return StoreAwayError(
        "the tracking server does not answer",
        where=mask_password(uri),
        got=got,
        hint="start it, or correct MLFLOW_TRACKING_URI or tracking.uri",
    )
