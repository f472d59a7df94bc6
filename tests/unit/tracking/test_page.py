import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import UNAUTHENTICATED

from modelbook.config import Config, load_config
from modelbook.errors import TrackingStoreError, UsageError
from modelbook.tracking import page
from modelbook.tracking.page import mlflow_page

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    return load_config({"tracking": {"experiment": "houses"}}, environ={})


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the experiments of the store, id by name."""
    experiments = {"houses": "7"}

    def find(name: str) -> SimpleNamespace | None:
        return SimpleNamespace(experiment_id=experiments[name]) if name in experiments else None

    monkeypatch.setattr(page, "open_client", lambda _: SimpleNamespace(get_experiment_by_name=find))
    return experiments


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Start a small server in place of MLflow's, and return what was started."""
    processes: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        processes.append(popen([sys.executable, "-c", SERVER, command[-1]], **options))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return processes


@pytest.fixture
def other_server(port: int) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield port
        server.shutdown()


def test_the_page_lasts_as_long_as_the_context(config: Config, port: int, started):
    """The page is up when its address is known, which leads to the project's runs, and is down afterwards."""
    with mlflow_page(config, host="127.0.0.1", port=port) as address:
        assert address == f"http://127.0.0.1:{port}/#/experiments/7/runs"
        assert started[0].poll() is None
    assert started[0].poll() is not None


@pytest.mark.usefixtures("started")
def test_a_project_without_runs(config: Config, port: int, store: dict[str, str]):
    """Before the first run the address is that of the list of experiments."""
    store.clear()
    with mlflow_page(config, host="127.0.0.1", port=port) as address:
        assert address.endswith("/#/experiments")


@pytest.mark.usefixtures("started")
def test_a_proxy_is_not_asked(config: Config, port: int, monkeypatch: pytest.MonkeyPatch):
    """A page on this machine is waited for without the proxy that the machine may be set to."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setattr(page, "_READY_WITHIN_S", 5)
    with mlflow_page(config, host="127.0.0.1", port=port) as address:
        assert address


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("https://mlflow.example.org/", "https://mlflow.example.org/#/experiments/7/runs"),
        ("http://ann:hush@host:5000/mlflow", "http://host:5000/mlflow/#/experiments/7/runs"),
    ],
)
def test_a_server_has_its_own_page(config: Config, started, uri: str, *, address: str):
    """A tracking server's own page is given, without the password, and nothing is started."""
    remote = load_config(config.as_dict(), environ={"MLFLOW_TRACKING_URI": uri})
    with mlflow_page(remote, host="127.0.0.1", port=5002) as given:
        assert given == address
    assert started == []


def test_a_server_that_refuses(config: Config, started, monkeypatch: pytest.MonkeyPatch):
    """Where the store answers and refuses, the page ends with its words and exit code 7, in no traceback."""

    def refuse(_: str) -> None:
        raise MlflowException("You are not authenticated.", error_code=UNAUTHENTICATED)

    monkeypatch.setattr(page, "open_client", lambda _: SimpleNamespace(get_experiment_by_name=refuse))
    with (
        pytest.raises(TrackingStoreError) as caught,
        mlflow_page(config, host="127.0.0.1", port=5002),
    ):
        pytest.fail("nobody was let in")
    assert (caught.value.exit_code, caught.value.got) == (7, "You are not authenticated.")
    assert started == []


def test_a_port_that_is_taken(config: Config, other_server: int, started):
    """Where another server answers already, nothing is started and another port is asked for."""
    with pytest.raises(UsageError) as caught, mlflow_page(config, host="127.0.0.1", port=other_server):
        pytest.fail("that is another server's page")
    assert "--port" in (caught.value.hint or "")
    assert caught.value.where == f"127.0.0.1, port {other_server}"
    assert started == []


def test_an_address_of_another_machine(config: Config, started):
    """An address that is not this machine's is refused."""
    with pytest.raises(UsageError), mlflow_page(config, host="192.0.2.1", port=0):
        pytest.fail("there is no such address here")
    assert started == []


def test_a_page_that_does_not_come_up(config: Config, port: int, monkeypatch: pytest.MonkeyPatch):
    """A server that ends at once, or never answers, is an error with exit code 7 and is not left running."""
    monkeypatch.setattr(page, "_command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    with (
        pytest.raises(TrackingStoreError, match="exit code 3"),
        mlflow_page(config, host="127.0.0.1", port=port),
    ):
        pytest.fail("it is not up")
    monkeypatch.setattr(page, "_READY_WITHIN_S", 0.3)
    monkeypatch.setattr(page, "_command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(TrackingStoreError) as caught, mlflow_page(config, host="127.0.0.1", port=port):
        pytest.fail("it is not up")
    assert (caught.value.exit_code, caught.value.got) == (7, "it is still starting")


def test_a_page_that_does_not_end(config: Config, port: int, started, *, monkeypatch):
    """A server that ignores being asked to end is killed."""
    monkeypatch.setattr(page, "_STOP_WITHIN_S", 0.2)
    monkeypatch.setattr(
        sys.modules[__name__],
        "SERVER",
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVER}",
    )
    with mlflow_page(config, host="127.0.0.1", port=port):
        pass
    assert started[0].wait(5) == -9


def test_how_mlflow_is_started(config: Config, monkeypatch: pytest.MonkeyPatch):
    """MLflow serves the project's store from one worker; its arguments hold no password."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    secret = load_config(config.as_dict(), environ={"MLFLOW_TRACKING_URI": "postgresql://ann:hush@host/db"})
    command = page._command(secret, "127.0.0.1", 5002)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert "hush" not in " ".join(command)
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options == {
        "--default-artifact-root": (config.root / "logs/mlruns").as_uri(),
        "--workers": "1",
        "--host": "127.0.0.1",
        "--port": "5002",
    }
    environment = page._environment(secret)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == "postgresql://ann:hush@host/db"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "MLFLOW_TRACKING_URI" not in environment
    assert environment["PATH"] == os.environ["PATH"]
