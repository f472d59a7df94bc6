"""Files fetched over http(s), held against the hash that they must have."""

import hashlib
import netrc
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelbook.config import mask_password
from modelbook.errors import DataReadError
from modelbook.files import whole_file

if TYPE_CHECKING:
    import httpx

_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 60.0


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None,
    connect_timeout_s: float = _CONNECT_TIMEOUT_S,
    read_timeout_s: float = _READ_TIMEOUT_S,
) -> str:
    """Fetch a URL to a file, which gets its name only once its hash is right, and return that hash.

    Args:
        url: Where the file is; redirections are followed. A password that it lacks is looked up in ~/.netrc.
        path: Where it goes.
        sha256: The hash that its bytes must have, as 64 hexadecimal digits; None takes what comes.
        connect_timeout_s: How long to wait for the server to answer at all.
        read_timeout_s: How long to wait for each further piece.

    Raises:
        DataReadError: The server cannot be reached, refuses, stops half-way or sends something else.
        StorageError: The folder cannot be written or the disk is full.
    """
    import httpx

    timeout = httpx.Timeout(read_timeout_s, connect=connect_timeout_s)
    with whole_file(path) as temporary:
        try:
            got = _stream(url, temporary, timeout)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(url, error) from None
        if sha256 not in {None, got}:
            raise wrong_hash(url_for_people(url), got=got, expected=sha256)
    return got


def url_for_people(url: str) -> str:
    """Return a URL as messages show it: the password masked, the query (which may hold a token) left out.

    Example:
        >>> url_for_people("https://ann:secret@example.org/houses.csv?token=abc")
        'https://ann:***@example.org/houses.csv'
    """
    parts = urlsplit(url)
    return mask_password(parts._replace(query="", fragment="").geturl()) or url


def wrong_hash(where: str, *, got: str, expected: str) -> DataReadError:
    """Return the error for bytes that are not those that data.sha256 names."""
    return DataReadError(
        "the source does not have the sha256 that the config gives",
        where=where,
        got=got,
        expected=expected,
        hint="the file has changed: look at it, and set data.sha256 only if the change is wanted",
    )


def _stream(url: str, path: Path, timeout: "httpx.Timeout") -> str:
    import httpx

    digest = hashlib.sha256()
    # The bytes as stored are wanted, not as a server may compress them on the way.
    with (
        httpx.stream(
            "GET",
            url,
            headers={"Accept-Encoding": "identity"},
            auth=_kept_password(url),
            timeout=timeout,
            follow_redirects=True,
        ) as response,
        path.open("wb") as file,
    ):
        response.raise_for_status()
        for piece in response.iter_raw():
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _kept_password(url: str) -> "httpx.Auth | None":
    """Return what shows hosts their password in ~/.netrc; nothing without one, or if the URL has its own."""
    import httpx

    if urlsplit(url).password is not None:
        return None
    try:
        return httpx.NetRCAuth()
    except (OSError, netrc.NetrcParseError):
        return None


def _unreachable(url: str, error: Exception) -> DataReadError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return DataReadError(
        "a source could not be fetched",
        where=url_for_people(url),
        got=f"the answer {status}" if status else f"{type(error).__name__}",
        expected="the file",
        hint="check the address and the network, then run the command again; nothing was left half written",
    )
