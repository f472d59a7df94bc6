"""API keys: long random words, of which the configuration holds hashes alone."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from contextlib import suppress

_PREFIX = "mb_"
_HASH = "sha256:"


def new_key() -> str:
    """Return a key that nobody guesses: 256 random bits.

    Example:
        >>> len(new_key())
        46
    """
    return _PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """Return what the configuration says of a key.

    One round of SHA-256 is enough for 256 random bits, and no word that a person thought of is a key.

    Example:
        >>> hash_of("mb_example")[:15]
        'sha256:3ffe98a4'
    """
    return _HASH + hashlib.sha256(key.encode()).hexdigest()


class KeyRing:
    """Says whose key a request has.

    Args:
        hashes: The hash of each key, by the name of whoever has it.

    Example:
        >>> ring = KeyRing({"ann": hash_of("mb_example")})
        >>> ring.owner({b"authorization": b"Bearer mb_example"}), ring.owner({b"x-api-key": b"other"})
        ('ann', None)
        >>> ring.owner({b"authorization": b"Bearer mb_example", b"x-api-key": b"other"})
        'ann'
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._digests = [(name, bytes.fromhex(text.removeprefix(_HASH))) for name, text in hashes.items()]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def owner(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Return whose key the headers have; each key is compared, in a time that says nothing of them.

        A key of another service beside it, as proxies add one, is no hindrance.
        """
        found = None
        for given in (_given(headers.get(b"authorization", b"")), headers.get(b"x-api-key", b"")):
            digest = hashlib.sha256(given).digest()
            for name, known in self._digests:
                if hmac.compare_digest(digest, known):
                    found = name
        return found


def _given(header: bytes) -> bytes:
    """Return the key in a header: as a bearer has it, or as browsers send a password that they asked for."""
    scheme, _, key = header.partition(b" ")
    match scheme.lower():
        case b"bearer":
            return key.strip()
        case b"basic":
            with suppress(binascii.Error):
                return base64.b64decode(key.strip(), validate=True).partition(b":")[2]
    return b""
