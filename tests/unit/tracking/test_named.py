import base64
import http.server
import socket
import threading
import time
from contextlib import contextmanager

import orjson
import pytest

from modelbook.config import load_config
from modelbook.errors import StoreAwayError, TrackingStoreError
from modelbook.tracking import named
from modelbook.tracking.named import NamedVersion, named_version


class _Server(http.server.BaseHTTPRequestHandler):
    """Answers as it is told, and remembers what it was asked."""

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        status, content = self.server.answers
        elsewhere, self.server.elsewhere = self.server.elsewhere, None
        self.send_response(302 if elsewhere else status)
        if elsewhere:
            self.send_header("Location", elsewhere)
        self.end_headers()
        self.wfile.write(content if isinstance(content, bytes) else orjson.dumps(content))

    def log_message(self, *_words):
        pass


@pytest.fixture
def server():
    """A server that answers as a test wants it."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Server)
    server.asked, server.answers, server.elsewhere = [], (200, {}), None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def at(address, account=""):
    return load_config({"tracking": {"uri": f"http://{account}{address[0]}:{address[1]}/mlflow/"}})


def test_a_server_is_asked_with_the_account(server):
    """The user of the address or of MLflow's variables is told to the server, below the address's path."""
    server.answers = 200, {"model_version": {"version": "7"}}
    address = server.server_address
    assert named_version(at(address, "ann:s%40y@"), "houses", alias="production", environ={}) == NamedVersion(
        "7", None
    )
    named_version(at(address), "houses", alias="production", environ={"MLFLOW_TRACKING_TOKEN": "abc"})
    named_version(
        at(address),
        "houses",
        environ={"MLFLOW_TRACKING_USERNAME": "bo", "MLFLOW_TRACKING_PASSWORD": "x"},
    )
    (path, ann), (_, token), (_, bo) = server.asked
    assert path == "/mlflow/api/2.0/mlflow/registered-models/alias?name=houses&alias=production"
    basic = [base64.b64encode(words).decode() for words in (b"ann:s@y", b"bo:x")]
    assert [headers["Authorization"] for headers in (ann, token, bo)] == [
        f"Basic {basic[0]}",
        "Bearer abc",
        f"Basic {basic[1]}",
    ]


def test_the_account_goes_no_further(server):
    """Where the server sends us on, whoever is asked there is told neither password nor token."""
    server.answers = 200, {"model_version": {"version": "7"}}
    server.elsewhere = f"http://localhost:{server.server_address[1]}/"
    found = named_version(at(server.server_address, "ann:s@"), "houses", alias="production", environ={})
    assert found == NamedVersion("7", None)
    assert ["Authorization" in headers for _, headers in server.asked] == [True, False]


@pytest.mark.parametrize(
    ("answers", "error", "got"),
    [
        ((401, b"who are you"), TrackingStoreError, "HTTP 401"),
        ((500, {"error_code": "INTERNAL_ERROR"}), StoreAwayError, "HTTP 500, INTERNAL_ERROR"),
        ((404, b"<html>"), StoreAwayError, "HTTP 404"),
        ((200, b"<html>"), StoreAwayError, "Expecting value"),
        ((200, [1]), StoreAwayError, "no MLflow"),
    ],
)
def test_a_server_that_answers_otherwise(server, answers, *, error, got):
    """What is no answer of MLflow's is an error that says what came, and holds no password."""
    server.answers = answers
    with pytest.raises(error) as raised:
        named_version(at(server.server_address, "ann:secret@"), "houses", environ={})
    assert type(raised.value) is error
    assert got in raised.value.got
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_store_that_is_away(scheme):
    """Where nobody listens, the error comes at once; where somebody listens and is silent, in time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        config = load_config({"tracking": {"uri": f"{scheme}://127.0.0.1:{port}/db"}})
        begun = time.monotonic()
        with pytest.raises(StoreAwayError):
            named_version(config, "houses", limit_s=0.2, environ={})
        assert time.monotonic() - begun < 5
    with pytest.raises(StoreAwayError):
        named_version(config, "houses", environ={})


def test_a_database_that_is_none(tmp_path):
    """A SQLite file that is damaged is a store that cannot be used; one that is not there holds nothing."""
    config = load_config({"tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"}})
    assert named_version(config, "houses") is None
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreAwayError, match="cannot be used"):
        named_version(config, "houses")


def test_a_database_that_still_owes_an_answer(tmp_path, monkeypatch):
    """It is asked nothing more before it has answered, so that neither threads nor connections pile up."""
    asked, may_answer, has_answered = [], threading.Event(), threading.Event()

    @contextmanager
    def asking(uri):
        asked.append(uri)
        may_answer.wait(10)
        yield lambda *_: None, "key"
        has_answered.set()

    monkeypatch.setattr(named, "_asking", asking)
    (tmp_path / "mlflow.db").touch()
    config = load_config({"tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"}})
    with pytest.raises(StoreAwayError, match="not answer in time"):
        named_version(config, "houses", limit_s=0.05)
    for _ in range(3):
        with pytest.raises(StoreAwayError, match="has not answered the last question"):
            named_version(config, "houses")
    assert len(asked) == 1
    may_answer.set()
    assert has_answered.wait(10)
    deadline = time.monotonic() + 10
    while named._question(config.tracking_uri).locked() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert named_version(config, "houses") is None
    assert len(asked) == 2
