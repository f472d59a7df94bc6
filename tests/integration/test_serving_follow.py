"""A server that follows the registry: what is promoted answers, and what is bad never does."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
import pytest

from modelbook.logs import now
from modelbook.registry.shelf import Remembered, Shelf
from modelbook.registry.wanted import find_wanted, parse_wanted
from modelbook.serving.making import Order, make

SERVER = Path(__file__).parents[1] / "tiny_server.py"
POLL_S = 0.2
ROW = {"area": 100.0, "rooms": 4, "town": "Porto"}


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
def serving(project, ref=None, *, port, workers=1):
    """Run a server over a project."""
    ref = ref or project.config.tracking.model_name
    words = [sys.executable, str(SERVER), str(project.root), ref, str(port), str(workers), str(POLL_S)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    server = Server(process, port)
    try:
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, server.said = process.communicate(timeout=15)
        sys.stderr.write(server.said)


def promote(project, version):
    project.client.set_registered_model_alias(project.config.tracking.model_name, "production", version)


def wanted(project, version):
    return find_wanted(project.config, parse_wanted(f"{project.config.tracking.model_name}/{version}"))


@pytest.fixture(scope="module")
def ready(two_versions, tmp_path_factory):
    """A project the first of whose two versions is in production; the bundles of both are there."""
    project = two_versions.copy(tmp_path_factory.mktemp("ready") / "houses")
    for version in (wanted(project, "1"), wanted(project, "2")):
        words = {"name": version.name, "version": version.version, "digest": version.digest}
        make(project.config, Order(settings={}, root="", **words))
    promote(project, "1")
    return project


@pytest.fixture
def served(ready, tmp_path):
    """A project of the test's own with two versions, the first of which is in production."""
    return ready.copy(tmp_path / "houses")


@contextmanager
def asking(ask_once, threads):
    """Ask over and over, in threads, and yield what came: answers, and errors of connections."""
    answers, errors, is_over = [], [], threading.Event()

    def ask():
        while not is_over.is_set():
            try:
                answers.append(ask_once())
            except (OSError, http.client.HTTPException) as error:
                errors.append(error)
            time.sleep(0.01)

    pool = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in pool:
        thread.start()
    try:
        yield answers, errors
    finally:
        is_over.set()
        for thread in pool:
            thread.join()


def test_promotions_lose_no_request(served, serve_model, free_port):
    """Under requests versions follow each other: none fails, each answer is that of the version it names.

    The bundle of one of them is made meanwhile by a process of its own; the server's loads none of MLflow,
    scikit-learn, pandas and Polars.
    """
    shutil.rmtree(Shelf(served.config).bundle(wanted(served, "2").digest))
    with serve_model(served, port=free_port) as server:
        server.await_state(version="1", status="ready", problem=None)
        with asking(lambda: server.predict(ROW), 4) as (answers, errors):
            for number in range(6):
                version = "1" if number % 2 else "2"
                promote(served, version)
                server.await_state(version=version, problem=None)
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert not [name for name in ("mlflow", "sklearn", "pandas", "polars") if name in maps]
    events = [orjson.loads(line) for line in server.said.splitlines() if '"source"' in line]
    assert "houses/2 answers now (compiled)" in {event["message"] for event in events}
    assert not errors
    assert {status for status, _, _ in answers} == {200}
    said = {(version, prediction) for _, version, prediction in answers}
    assert sorted(version for version, _ in said) == ["1", "2"]
    assert len({prediction for _, prediction in said}) == 2


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_server_that_is_told_to_end(served, free_port, workers):
    """It says first that it is not ready, completes what it has, and is gone within ten seconds."""
    with serving(served, port=free_port, workers=workers) as server:
        server.await_standing(version="1", is_ready=True)
        with ThreadPoolExecutor(20) as pool:
            under_way = [pool.submit(server.ask, "POST", b"3") for _ in range(20)]
            time.sleep(1)
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            standing = server.await_standing(is_ready=False, timeout_s=2)
            assert server.ask("POST")[0] == 200
            assert [answer.result()[:2] for answer in under_way] == [(200, "1")] * 20
        assert server.process.wait(10) == 0
        assert time.monotonic() - begun < 10
        assert standing["version"] == "1"


@pytest.mark.slow
def test_a_dead_worker_is_replaced(served, free_port):
    """Of two workers one is killed under requests: only those that it had fail, and it is replaced."""
    begun = time.monotonic()
    with serving(served, port=free_port, workers=2) as server:
        pids = pids_of(server, 2)
        start_s = time.monotonic() - begun
        with asking(lambda: server.ask("POST"), 4) as (answers, errors):
            time.sleep(1)
            os.kill(min(pids), signal.SIGKILL)
            killed = time.monotonic()
            new = pids_of(server, 2, besides=pids)
            replaced_s = time.monotonic() - killed
        sys.stderr.write(f"started in {start_s:.1f} s, replaced in {replaced_s:.1f} s; ")
        sys.stderr.write(f"{len(answers)} answers, {len(errors)} failed\n")
        assert replaced_s <= start_s + 5
        assert max(pids) in new
        assert len(errors) <= 4
        assert {status for status, _, _ in answers} == {200}
    assert f"Child process [{min(pids)}] died" in server.said


def pids_of(server, number, besides=()):
    """Return the processes that answer, once they are so many and one is new."""
    found, deadline = set(), time.monotonic() + 30
    while time.monotonic() < deadline:
        found.add(server.await_standing(is_ready=True)["pid"])
        alive = {pid for pid in found if Path(f"/proc/{pid}").exists()}
        if len(alive) == number and alive != set(besides):
            return alive
        time.sleep(0.01)
    pytest.fail(f"found {found}")


@pytest.mark.slow
def test_workers_leave_with_their_parent(served, free_port):
    """Workers whose parent was killed end as if they were told to, so that the port is free."""
    with serving(served, port=free_port, workers=2) as server:
        pids = pids_of(server, 2)
        server.process.kill()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def damage(path):
    path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(("change", "problem"), [(damage, "cannot be used"), (Path.unlink, "is gone")])
def test_the_store_is_away(served, serve_model, free_port, *, change, problem):
    """A server that begins while the store is away or gone lets the last version answer, and says stale."""
    config, version = served.config, wanted(served, "1")
    note = Remembered(
        name=version.name,
        version=version.version,
        digest=version.digest,
        alias="production",
        server="former",
        moment=now(),
    )
    Shelf(config).remember(parse_wanted(version.name), note)
    change(served.root / "logs/mlflow.db")
    with serve_model(served, port=free_port) as server:
        assert problem in server.await_state(version="1", status="stale")["problem"]
        assert server.predict(ROW)[:2] == (200, "1")


def test_a_server_that_cannot_begin(ready, modelbook, free_port):
    """A model that is not there, and an address that is taken, end a server before it begins."""
    done = modelbook("-C", ready.root, "serve", "nobody")
    assert (done.code, "there is no such model" in done.stderr) == (5, True)
    with socket.create_server(("127.0.0.1", free_port)):
        done = modelbook("-C", ready.root, "serve", "--port", free_port)
    assert (done.code, "the server cannot listen there" in done.stderr) == (2, True)
