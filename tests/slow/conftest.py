"""What the slow tests share: a watch over a file, a server that can be cut off, a small project."""

import json
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest

from modelbook.registry.loading import FoundModel
from modelbook.serving import bundle
from modelbook.serving.compiling.refusal import NotCompilableError
from modelbook.serving.pool import close_runtime, open_served

TESTS = Path(__file__).parents[1]
ROWS = 500
DISK_MB = 32


@pytest.fixture
def say(request, capsys) -> Callable[[str], None]:
    """Return a function that says something past the capture: a seed, a figure."""

    def write(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{request.node.name}: {line}\n")
            sys.stdout.flush()

    return write


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder that is a small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Watch:
    """How often a JSON file was read while others wrote it, and what was wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0
        self.mistakes: list[str] = []
        self._is_over = threading.Event()

    def look(self) -> None:
        """Read the file until the watch is over."""
        while not self._is_over.wait(0.02):
            try:
                json.loads(self.path.read_bytes())
            except (OSError, ValueError) as error:
                self.mistakes.append(f"{self.path.name}: {error}")
            self.reads += 1

    def end(self) -> None:
        """Let the watch be over."""
        self._is_over.set()


@pytest.fixture(scope="session")
def watching():
    """Return a context manager that reads a JSON file over and over in a thread of its own."""

    @contextmanager
    def watch(path: Path) -> Iterator[Watch]:
        watched = Watch(path)
        thread = threading.Thread(target=watched.look)
        thread.start()
        try:
            yield watched
        finally:
            watched.end()
            thread.join()

    return watch


class Proxy:
    """Passes bytes on to a server, until it is cut: then it refuses everyone, until it is mended."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._server = (parts.hostname, parts.port)
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._left: int | None = None
        self.passed = 0
        self.port = 0
        self.mend()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def mend(self) -> None:
        """Listen, and pass on what comes."""
        self._left = None
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and listen no more."""
        listener, self._listener = self._listener, None
        for connection in filter(None, (listener, *self._open)):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def cut_after(self, number: int) -> None:
        """Cut as soon as so many pieces of requests were passed on."""
        self._left = number

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, destination: socket.socket, is_request: bool) -> None:  # noqa: FBT001
        with suppress(OSError):
            while content := source.recv(65536):
                destination.sendall(content)
                if is_request:
                    self._count()
        for connection in (source, destination):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _count(self) -> None:
        self.passed += 1
        if self._left is not None:
            self._left -= 1
            if self._left < 0 and self._listener is not None:
                self.cut()


@pytest.fixture(scope="session")
def make_proxy():
    """Return what makes a way to a server that can be cut and mended."""
    return Proxy


@pytest.fixture
def proxy(mlflow_server):
    """Return a way to the tracking server that can be cut and mended."""
    proxy = Proxy(mlflow_server)
    yield proxy
    proxy.cut()


@pytest.fixture(scope="session")
def small(make_project, tmp_path_factory):
    """A project of few rows and trees that has not run yet."""
    numbers = np.random.default_rng(20261122)
    area = numbers.uniform(30, 200, ROWS)
    table = pl.DataFrame({"area": area, "price": 1000 * area + numbers.normal(0, 5000, ROWS)})
    project = make_project(tmp_path_factory.mktemp("small") / "houses", table, target="price")
    project.set({"evaluation.thresholds.rmse.max": "1000000"})
    return project


@pytest.fixture
def copy_for(small, tmp_path):
    """Return a function that copies the project, with an experiment and a model of its own."""

    def copy(name, address):
        project = small.copy(tmp_path / name / "houses")
        own = {
            "tracking.experiment": f"{tmp_path.name}-{name}",
            "tracking.model_name": f"{tmp_path.name}-{name}",
        }
        project.set({"tracking.uri": address, **own})
        return project

    return copy


@pytest.fixture(scope="module", params=["compiled", "reference"])
def real_app(request, tmp_path_factory):
    """Return the application of a trained classifier of a column of every type, in each kind."""
    train = runpy.run_path(str(TESTS / "unit/serving/conftest.py"))["train"]
    folder = tmp_path_factory.mktemp("real")
    trained = train(folder / "package")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "reference":
            patch.setattr(bundle, "_compile", _not_compiled)
        found = FoundModel(trained.model, trained.record, "houses", "7")
        bundle.write_bundle(found, trained.package, folder / "bundle", golden=trained.golden)
    runtime = open_served(folder / "bundle", processes=1)
    assert runtime.kind == request.param
    yield runpy.run_path(str(TESTS / "typed_app.py"))["typed_app"](runtime)
    close_runtime(runtime)


def _not_compiled(*_, **__):
    raise NotCompilableError("its own code is wanted")
