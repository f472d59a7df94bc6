"""Files over http, from a server on loopback."""

import hashlib
import socket
import time
from base64 import b64encode

import pytest

from modelbook.data.download import download, url_for_people
from modelbook.errors import DataReadError, StorageError

CONTENT = b"rooms,price\n3,100\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(server, tmp_path):
    (tmp_path / "site" / "t.csv").write_bytes(CONTENT)
    return f"http://127.0.0.1:{server.server_port}"


def refusal(url, path, sha256=SHA256, **timeouts):
    """Return the error of a download that leaves nothing behind."""
    with pytest.raises(DataReadError) as caught:
        download(url, path, sha256=sha256, **timeouts)
    assert caught.value.exit_code == 3
    assert list(path.parent.iterdir()) == []
    return caught.value


def test_file_is_fetched(url, tmp_path):
    """A file whose hash is right gets its name."""
    download(f"{url}/t.csv", tmp_path / "raw" / "t.csv", sha256=SHA256)
    assert (tmp_path / "raw" / "t.csv").read_bytes() == CONTENT


def test_a_password_is_looked_up(url, server, *, tmp_path, monkeypatch):
    """A host is shown the password that ~/.netrc has for it, unless the URL has one of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password hush\n")
    (tmp_path / ".netrc").chmod(0o600)
    for address, shown in ((url, b"ann:hush"), (url.replace("//", "//bob:own@"), b"bob:own")):
        download(f"{address}/t.csv", tmp_path / "raw" / "t.csv", sha256=SHA256)
        assert server.authorization == f"Basic {b64encode(shown).decode()}"


def test_wrong_hash(url, tmp_path):
    """A file of another hash is refused, with both hashes, and gets no name."""
    error = refusal(f"{url}/t.csv", tmp_path / "raw" / "t.csv", sha256="0" * 64)
    assert error.what == "the source does not have the sha256 that the config gives"
    assert (error.got, error.expected) == (SHA256, "0" * 64)


def test_wrong_hash_leaves_the_former_copy(url, tmp_path):
    """A refused download does not touch what was there."""
    (tmp_path / "t.csv").write_bytes(b"former")
    with pytest.raises(DataReadError):
        download(f"{url}/t.csv", tmp_path / "t.csv", sha256="0" * 64)
    assert (tmp_path / "t.csv").read_bytes() == b"former"


def test_absent_page(url, tmp_path):
    """A page that is not there is told by its status."""
    assert refusal(f"{url}/none.csv", tmp_path / "raw" / "t.csv").got == "the answer 404"


def test_answer_cut_short(url, tmp_path):
    """An answer that stops before its announced length is refused."""
    assert refusal(f"{url}/cut/t.csv", tmp_path / "raw" / "t.csv").what == "a source could not be fetched"


def test_unreachable_server(tmp_path):
    """A closed port is told at once, and the password in the URL is not shown."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    error = refusal(f"http://ann:secret@127.0.0.1:{port}/t.csv?token=abc", tmp_path / "raw" / "t.csv")
    assert time.monotonic() - start < 5
    assert error.what == "a source could not be fetched"
    assert error.where == f"http://ann:***@127.0.0.1:{port}/t.csv"
    assert "secret" not in str(error)
    assert "abc" not in str(error)


def test_silent_server(tmp_path):
    """A server that accepts and never answers is given up after the timeout."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/t.csv"
        assert refusal(address, tmp_path / "raw" / "t.csv", read_timeout_s=0.2).got == "ReadTimeout"


def test_folder_that_cannot_be_made(url, tmp_path):
    """A copy that has no place to go is a StorageError, not an error of the source."""
    (tmp_path / "raw").write_text("a file where a folder should be")
    with pytest.raises(StorageError):
        download(f"{url}/t.csv", tmp_path / "raw" / "t.csv", sha256=SHA256)


def test_url_without_password():
    """A URL without secrets is shown as it is."""
    assert url_for_people("https://example.org/t.csv") == "https://example.org/t.csv"
