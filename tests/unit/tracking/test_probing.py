import urllib.request
from contextlib import nullcontext

import pytest

from modelbook.tracking import probing


@pytest.mark.parametrize(
    ("uri", "asked"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/health"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/health"),
        ("https://ann:hush@runs.example.org/team", "https://runs.example.org/team/health"),
        ("https://token@[::1]:5000", "https://[::1]:5000/health"),
    ],
)
def test_a_server_is_asked_without_the_password(monkeypatch: pytest.MonkeyPatch, *, uri: str, asked: str):
    """Whether a server answers is asked at its address, in which a user and a password have no place."""
    addresses = []
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda address, timeout: nullcontext(addresses.append(address) or timeout)
    )
    probing.probe(uri)
    assert addresses == [asked]
