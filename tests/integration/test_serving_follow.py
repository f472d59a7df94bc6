"""A server that follows the registry: what is promoted answers, and what is bad never does."""

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
import pytest

SERVER = Path(__file__).parents[1] / "tiny_server.py"
POLL_S = 0.2


class Server:
    """A server in processes of its own, on a port of loopback."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    def ask(self, method="GET", body=None, timeout_s=10):
        """Return status, version and content of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, "/", body)
            answer = connection.getresponse()
            content = orjson.loads(answer.read())
        finally:
            connection.close()
        return answer.status, answer.headers["x-modelbook-version"], content

    def await_standing(self, timeout_s=30, **expected):
        """Return how the server stands once that is as expected."""
        deadline = time.monotonic() + timeout_s
        found = None
        while time.monotonic() < deadline:
            with suppress(OSError):
                found = self.ask()[2]
                if expected.items() <= found.items():
                    return found
            time.sleep(0.05)
        pytest.fail(f"expected {expected}, last {found}, exit code {self.process.poll()}")


@contextmanager
def serving(root, ref, *, port, workers=1, env=None):
    """Run a server over a project."""
    words = [sys.executable, str(SERVER), str(root), ref, str(port), str(workers), str(POLL_S)]
    process = subprocess.Popen(words, env=os.environ | (env or {}), stderr=subprocess.PIPE, text=True)
    server = Server(process, port)
    try:
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, server.said = process.communicate(timeout=15)
        sys.stderr.write(server.said)


def promote(project, version, alias="production"):
    name = project.config.tracking.model_name
    project.client.set_registered_model_alias(name, alias, version)


@pytest.fixture
def served(two_versions, tmp_path):
    """A project of the test's own, the first of whose two versions is in production."""
    project = two_versions.copy(tmp_path / "houses")
    promote(project, "1")
    return project


def test_a_promotion_is_picked_up(served, free_port):
    """What is promoted answers within the poll time, and the answers say which version gave them."""
    name = served.config.tracking.model_name
    with serving(served.root, name, port=free_port) as server:
        server.await_standing(version="1", is_ready=True)
        first = server.ask("POST")
        promote(served, "2")
        server.await_standing(version="2", swaps=1)
        second = server.ask("POST")
        assert (first[1], second[1]) == ("1", "2")
        assert first[2] != second[2]
