"""Servers under requests for minutes: while the registry moves, holds bad versions, and is away."""

import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

pytestmark = pytest.mark.slow

FLIPS = 50
FLIPS_S = 60
AWAY_S = 60
RATE = 50
REQUESTS = 100_000
SWAPS = 100
MAX_GROWTH = 1.05
ROW = {"area": 100.0}
HOUSE = {"area": 100.0, "rooms": 4, "town": "Porto"}


class Asker:
    """Asks a server so often a second, and keeps what came of it."""

    def __init__(self, server, row, rate=RATE):
        self.answers, self.errors = [], []
        self._server, self._row, self._rate = server, row, rate
        self._is_over = threading.Event()
        self._slots = iter(range(10**9))
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._threads = [threading.Thread(target=self._work) for _ in range(8)]

    def _work(self):
        while not self._is_over.is_set():
            with self._lock:
                due = self._begun + next(self._slots) / self._rate
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self.answers.append(self._server.predict(self._row))
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(repr(error))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error):
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def check(self, expected):
        """Hold each answer against what its version predicts."""
        assert not self.errors
        assert {status for status, _, _ in self.answers} == {200}
        assert {version: said for _, version, said in self.answers}.keys() <= expected.keys()
        assert [answer for answer in self.answers if answer[2] != expected[answer[1]]] == []


@pytest.fixture(scope="module")
def store(run_mlflow, tmp_path_factory):
    """An MLflow server of this module's own: its address, and the folder of its artifacts."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with run_mlflow(folder, port) as address:
        yield address, folder / "artifacts"


@pytest.fixture(scope="module")
def trained(small, store, *, make_project, tmp_path_factory):
    """A client of a store with two good versions, a third of another column and a fourth that is damaged."""
    project = small.copy(tmp_path_factory.mktemp("trained") / "houses")
    project.set({"tracking.uri": store[0], "tracking.model_name": "houses"})
    for trees in ("5", "7"):
        project.set({"model.hyperparameters.random_forest.n_estimators": trees})
        project.run()
    numbers = np.random.default_rng(20261122).uniform(30, 200, (500, 2))
    table = pl.DataFrame({"width": numbers[:, 0], "depth": numbers[:, 1], "price": 1000 * numbers[:, 0]})
    other = make_project(tmp_path_factory.mktemp("other") / "houses", table, target="price")
    other.set({"tracking.uri": store[0], "tracking.model_name": "houses"})
    other.set({"evaluation.thresholds.rmse.max": "1000000"})
    other.run()
    before = set(store[1].rglob("model.skops"))
    project.set({"model.hyperparameters.random_forest.n_estimators": "9"})
    project.run()
    damage(*set(store[1].rglob("model.skops")) - before)
    assert project.versions == [1, 2, 3, 4]
    return project


def damage(path):
    """Change one bit in the middle of a file, and of no other that shares its blocks."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def promote(project, version):
    project.client.set_registered_model_alias(project.config.tracking.model_name, "production", version)


@pytest.fixture
def deployed(trained, proxy_to_store, tmp_path):
    """What a server needs that is no project: where the registry is; the first version is in production."""
    promote(trained, "1")
    (tmp_path / "served/config").mkdir(parents=True)
    settings = {"tracking": {"uri": proxy_to_store.address, "model_name": "houses"}}
    settings |= {"serving": {"port": 0, "poll_s": 0.2, "access_log": False}}
    (tmp_path / "served/config/config.yaml").write_bytes(orjson.dumps(settings))
    return type(trained)(tmp_path / "served")


@pytest.fixture
def proxy_to_store(store, make_proxy):
    """A way to the store that can be cut and mended."""
    proxy = make_proxy(store[0])
    yield proxy
    proxy.cut()


def learn(server, project, row):
    """Return what each version predicts, by letting each answer alone."""
    said = {}
    for version in ("1", "2"):
        promote(project, version)
        server.await_state(version=version, problem=None)
        while version not in said:  # another worker may be a moment later
            _, found, said_now = server.predict(row)
            said |= {version: said_now} if found == version else {}
    assert len(set(said.values())) == 2
    return said


@pytest.mark.parametrize("kind", ["sqlite", "http"])
def test_flips_under_requests(request, kind, *, serve_model, free_port, tmp_path, say):
    """While the alias moves to and fro under requests none fails, and each answer is its version's own."""
    if kind == "sqlite":
        project = client = request.getfixturevalue("two_versions").copy(tmp_path / "houses")
        row = HOUSE
    else:
        project, client = request.getfixturevalue("deployed"), request.getfixturevalue("trained")
        row = ROW
    promote(client, "1")
    workers = "1" if kind == "sqlite" else "2"
    with serve_model(project, "--workers", workers, port=free_port) as server:
        said = learn(server, client, row)
        begun = time.monotonic()
        with Asker(server, row) as asker:
            for number in range(FLIPS):
                promote(client, "1" if number % 2 else "2")
                time.sleep(max(0.0, begun + (number + 1) * FLIPS_S / FLIPS - time.monotonic()))
        state = server.await_state(version="1", status="ready")
        swaps = metric(server, "swaps")
    asker.check(said)
    assert state["problem"] is None
    say(f"{len(asker.answers)} answers in {FLIPS_S} s by {workers} workers, {len(asker.errors)} failed")
    say(f"{swaps:.0f} swaps")
    assert len(asker.answers) >= 0.95 * RATE * FLIPS_S
    assert swaps >= 0.9 * FLIPS * int(workers)


def metric(server, word):
    """Return a figure of the server's own, by a word in its name."""
    lines = server.ask("/metrics")[2].decode().splitlines()
    found = [line for line in lines if word in line and not line.startswith("#") and "_created" not in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_bad_versions_and_no_registry(deployed, trained, proxy_to_store, *, serve_model, free_port, say):
    """A version of other columns, one that is damaged and a registry away: the old model answers all."""
    with serve_model(deployed, port=free_port) as server:
        said = learn(server, trained, ROW)
        promote(trained, "1")
        server.await_state(version="1")
        with Asker(server, ROW) as asker:
            for version, words in (("3", "does not take what the served one takes"), ("4", "not")):
                promote(trained, version)
                problem = await_problem(server, f"houses/{version} is not let in")
                assert words in problem
                time.sleep(3)
            assert metric(server, "rejected") == 2
            promote(trained, "1")
            server.await_state(version="1", status="ready", problem=None)
            proxy_to_store.cut()
            server.await_state(version="1", status="stale")
            time.sleep(AWAY_S)
            proxy_to_store.mend()
            server.await_state(version="1", status="ready", problem=None)
        proxy_to_store.cut()
    with serve_model(deployed, port=free_port) as server:
        server.await_state(version="1", status="stale")
        assert server.predict(ROW)[1:] == ("1", said["1"])
    proxy_to_store.mend()
    asker.check({"1": said["1"]})
    say(f"{len(asker.answers)} answers, {len(asker.errors)} failed")


def await_problem(server, words, timeout_s=60):
    """Return what a server says is wrong, once it says so."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        problem = server.state()["problem"]
        if problem and words in problem:
            return problem
        time.sleep(0.1)
    pytest.fail(f"expected {words}, found {problem}")


def test_a_version_that_answers_otherwise(two_versions, serve_model, *, free_port, tmp_path):
    """A version that does not predict what its run recorded never answers; the old one does."""
    project = two_versions.copy(tmp_path / "houses")
    promote(project, "1")
    kept = project.root / f"logs/runs/{project.metadata.uid}/test_predictions.parquet"
    table = pl.read_parquet(kept).with_columns(pl.col("predicted") + 1000)
    kept.unlink()
    table.write_parquet(kept)
    with serve_model(project, port=free_port) as server:
        server.await_state(version="1", status="ready")
        alone = server.predict(HOUSE)[2]
        with Asker(server, HOUSE) as asker:
            promote(project, "2")
            assert "does not answer as it did when it was recorded" in await_problem(server, "houses/2")
            time.sleep(3)
    asker.check({"1": alone})


def test_memory_stays(two_versions, serve_model, *, free_port, tmp_path, say):
    """After 100,000 requests and 100 swaps a server holds hardly more than after the first few of them."""
    project = two_versions.copy(tmp_path / "houses")
    project.set({"serving.access_log": "false"})
    promote(project, "1")
    with serve_model(project, port=free_port) as server:
        learn(server, project, HOUSE)
        held, flips = [], [SWAPS // 20] + [SWAPS // 9] * 9
        versions = cycle(("1", "2"))
        for part in flips:
            for version in islice(versions, part):
                promote(project, version)
                server.await_state(version=version)
                send(server, HOUSE, 1 + REQUESTS // 10 // part)
            held.append(memory_bytes(server.process.pid))
        swaps, requests = metric(server, "swaps"), metric(server, "requests_total")
    say(f"{requests:.0f} requests, {swaps:.0f} swaps: {', '.join(f'{size / 1e6:.0f}' for size in held)} MB")
    assert swaps >= SWAPS
    assert requests >= REQUESTS
    assert held[-1] <= MAX_GROWTH * held[0]


def send(server, row, count):
    """Send a row so often, on two connections."""
    body = orjson.dumps({"dataframe_records": [row]})

    def work():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        for _ in range(1 + count // 2):
            connection.request("POST", "/invocations", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        for work_done in [pool.submit(work) for _ in range(2)]:
            work_done.result()


def memory_bytes(pid):
    """Return what a process holds in memory, files that it has mapped included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


SLOW = '''"""An estimator of the user's own that takes its time, and for a house of 777 rooms all of it."""

import itertools
import time

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class Slow(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        if (np.asarray(X) == 777).any():
            sum(itertools.repeat(0))  # which lets no other thread have the interpreter
        time.sleep(0.25)
        return np.full(len(X), self.mean_)
'''


@pytest.fixture(scope="module")
def slow_model(new_project, tmp_path_factory):
    """A project whose model has code of its own."""
    project = new_project.copy(tmp_path_factory.mktemp("slow") / "houses")
    project.write("features.py", SLOW)
    project.set({"model.algorithm": "Slow", "model.hyperparameters.Slow": "{}"})
    project.set({"evaluation.thresholds": "{}", "serving.model_processes": "2"})
    project.set({"features.numeric.scale": "none"})
    project.commit()
    project.run()
    return project


def test_a_model_that_hangs_while_its_server_ends(slow_model, serve_model, *, free_port, say):
    """What holds its interpreter keeps no server from ending in time, and does not outlive it."""
    with serve_model(slow_model, port=free_port) as server, ThreadPoolExecutor(1) as pool:
        server.await_state(version="1", status="ready")
        children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
        models = [int(pid) for path in children for pid in path.read_text().split()]
        pool.submit(server.predict, HOUSE | {"rooms": 777})
        time.sleep(1)
        begun = time.monotonic()
        server.process.terminate()
        assert server.process.wait(12) == 0
        say(f"gone after {time.monotonic() - begun:.1f} s, {len(models)} processes of the model with it")
        assert len(models) == 2
        assert not [pid for pid in models if Path(f"/proc/{pid}").exists()]


def test_the_end_of_a_slow_model(slow_model, serve_model, *, free_port, say):
    """A server of a model with code of its own is told to end: all 20 requests under way are completed."""
    with serve_model(slow_model, port=free_port) as server, ThreadPoolExecutor(20) as pool:
        assert server.await_state(version="1", status="ready")["kind"] == "reference"
        under_way = [pool.submit(server.predict, HOUSE) for _ in range(20)]
        time.sleep(0.5)
        assert sum(answer.done() for answer in under_way) < 10
        begun = time.monotonic()
        server.process.terminate()
        server.await_state(status="stopping", timeout_s=2)
        answers = [answer.result()[:2] for answer in under_way]
        assert server.process.wait(10) == 0
        say(f"{answers.count((200, '1'))} of 20 completed, gone after {time.monotonic() - begun:.1f} s")
        assert answers == [(200, "1")] * 20
