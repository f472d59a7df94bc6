"""What every test stands on: its own environment, loopback as the only network, projects to drive."""

import hashlib
import http.client
import logging
import os
import pwd
import runpy
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from modelbook.cli.main import main
from modelbook.config import load_config, set_values
from modelbook.records import RunMetadata

ROOT = Path(__file__).parents[1]

Cli = Callable[..., subprocess.CompletedProcess[str]]

# What libraries say to each other, beside what pyproject.toml lists.
WARNINGS = (r"ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow\.types",)


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests, and every process that they start, an environment that no machine's settings reach.

    This happens before anything is imported: MLflow and DVC read some of these once, on import.
    """
    for warning in WARNINGS:
        config.addinivalue_line("filterwarnings", warning)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    home = tempfile.TemporaryDirectory(prefix="modelbook-home-")
    config.add_cleanup(home.cleanup)
    for name in filter(_reaches_in, tuple(os.environ)):
        del os.environ[name]
    os.environ.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # without bytecode every process starts three times slower
    os.environ |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": home.name,
        "XDG_CACHE_HOME": cache,  # fonts for matplotlib and wheels: costly to make, the same for every run
        "XDG_CONFIG_HOME": f"{home.name}/.config",
        "GIT_AUTHOR_NAME": "Ada Example",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada Example",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": f"{home.name}/dvc",
        "DVC_SYSTEM_CONFIG_DIR": f"{home.name}/dvc",
        "DVC_SITE_CACHE_DIR": f"{home.name}/dvc",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "agg",
    }


def _reaches_in(variable: str) -> bool:
    return variable.startswith(("MLFLOW_", "DVC_", "GIT_"))


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection of the test's own process that leaves the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: tuple[object, ...] | str | bytes) -> None:
        is_local = self.family == socket.AF_UNIX or str(address[0]) in {"127.0.0.1", "::1", "localhost"}
        if not is_local:
            self.close()
            pytest.fail(f"a test reached for the network: {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def same_directory() -> Iterator[None]:
    """Come back to the folder that the test began in."""
    start = Path.cwd()
    yield
    os.chdir(start)


@pytest.fixture(autouse=True)
def artifacts_looked_up_anew() -> None:
    """Keep what a test before this one had of a run's artifacts out of it."""
    forget_artifacts()


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that cannot be written, by root neither: root gets a file system mounted read-only."""
    folder = tmp_path / "read_only"
    folder.mkdir(mode=0o500)
    if not os.access(folder, os.W_OK):
        yield folder
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user can write everywhere and may not mount a read-only file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data that lies beside the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there is no ../shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def run_cli() -> Cli:
    """Return a function that runs `modelbook` with arguments, in a folder, as a user would."""

    def run(
        *arguments: str | Path,
        cwd: Path,
        env: dict[str, str] | None = None,
        timeout_s: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "modelbook", *map(str, arguments)],
            cwd=cwd,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@dataclass(frozen=True)
class Project:
    """A project on disk, driven as its user drives it."""

    root: Path

    @property
    def config(self):
        """The settings as they stand in the file."""
        return load_config(self.root)

    @property
    def metadata(self):
        """The record of the run whose outputs lie in the project."""
        return RunMetadata.read(self.root / "models/metadata.json")

    @property
    def predictions(self):
        """What that run predicted for the test rows."""
        return pl.read_parquet(self.root / "models/test_predictions.parquet")

    @property
    def client(self):
        """MLflow's client of the project's store."""
        from modelbook.tracking.store import open_client

        return open_client(self.config)

    @property
    def recorded(self):
        """The runs that MLflow holds, the oldest first."""
        experiment = self.client.get_experiment_by_name(self.config.tracking.experiment)
        runs = self.client.search_runs([experiment.experiment_id]) if experiment else []
        return sorted(runs, key=lambda run: run.info.start_time)

    @property
    def versions(self):
        """The numbers of the versions that MLflow holds of the project's model, sorted."""
        found = self.client.search_model_versions(f"name = '{self.config.tracking.model_name}'")
        return sorted(int(version.version) for version in found)

    @property
    def registry(self):
        """The entries of the local registry."""
        path = self.root / "models/model_registry/registry.json"
        return orjson.loads(path.read_bytes())["versions"]

    def set(self, settings):
        """Write settings into config.yaml, given as YAML by dotted key."""
        return set_values(self.root / "config/config.yaml", settings)

    def write(self, path, text):
        """Write a file of the project."""
        (self.root / path).write_text(text)

    def run(self, **options):
        """Run the pipeline in this process, which saves the seconds that the libraries take to import."""
        from modelbook.pipeline.run import run_pipeline

        return run_pipeline(self.root, **options)

    def call(self, *arguments, env: Mapping[str, str] | None = None, timeout_s=120):
        """Run a command in the project's folder."""
        return subprocess.run(
            arguments,
            cwd=self.root,
            env=os.environ | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def modelbook(self, *arguments, **options):
        """Run `modelbook` in the project's folder, in a process of its own."""
        return self.call(sys.executable, "-m", "modelbook", *arguments, **options)

    def dvc(self, *arguments):
        """Run `dvc` in the project's folder and return everything that it says."""
        done = self.call("dvc", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def git(self, *arguments):
        """Run `git` in the project's folder and return what it prints."""
        done = self.call("git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self):
        """Commit everything that is not ignored."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "next")

    def copy(self, root):
        """Copy the whole project; MLflow's record of where artifacts are is moved along."""
        shutil.copytree(self.root, root, symlinks=True)
        forget_artifacts()
        database = root / "logs/mlflow.db"
        if database.exists():
            _move_artifacts(database, str(self.root), str(root))
        return Project(root)


def forget_artifacts():
    """Let MLflow look up anew where a run's artifacts are: copies of a project have runs of the same ids."""
    utils = sys.modules.get("mlflow.tracking._tracking_service.utils")
    if utils is not None:
        utils._artifact_repos_cache.clear()


def _move_artifacts(database, old, new):
    places = {
        "experiments": ("artifact_location",),
        "runs": ("artifact_uri",),
        "logged_models": ("artifact_location",),
        "model_versions": ("source", "storage_location"),
    }
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, columns in places.items():
            for column in columns:
                connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))  # noqa: S608


def houses(rows: int = 300) -> pl.DataFrame:
    """Return a table with a price to predict, a column with gaps among its whole numbers and a category."""
    random = np.random.default_rng(7)
    area = random.uniform(30, 200, rows).round(1)
    rooms = pl.Series((area // 25).astype(int)).set(pl.Series(random.random(rows) < 0.1), None)
    town = random.choice(["Aachen", "Brno", "Porto"], rows)
    price = area * 1000 + 20_000 * (town == "Porto") + random.normal(0, 5000, rows)
    return pl.DataFrame({"area": area, "rooms": rooms, "town": town, "price": price.round(2)})


def lay_down(root: Path, table: pl.DataFrame | str, *, target: str, task: str = "auto") -> Project:
    """Make a project of a table, or of the text of a CSV file, as `modelbook init --data` does."""
    from modelbook.scaffold.project import create_project
    from modelbook.scaffold.source import Source

    source = root.with_name(f"{root.name}.csv")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(table if isinstance(table, str) else table.write_csv(), encoding="utf-8")
    create_project(root, Source(str(source), target), task=task)
    small = {"model.hyperparameters.random_forest.n_estimators": "5", "training.n_jobs": "2"}
    set_values(root / "config/config.yaml", small)
    project = Project(root)
    project.commit()
    return project


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Return the file of an empty SQLite store, to be copied: MLflow takes seconds to make one."""
    from modelbook.tracking.store import open_client

    store = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(load_config({"tracking": {"uri": f"sqlite:///{store}"}}))
    return store


@pytest.fixture(scope="session")
def make_project(empty_store):
    """Return a function that makes a project with an empty store."""

    def make(root: Path, table: pl.DataFrame | str, **options: str) -> Project:
        project = lay_down(root, table, **options)
        (root / "logs").mkdir()
        shutil.copy(empty_store, root / "logs/mlflow.db")
        return project

    return make


@pytest.fixture(scope="session")
def new_project(make_project, tmp_path_factory):
    """Return a project that has not run yet, to be read and copied."""
    project = make_project(tmp_path_factory.mktemp("new") / "houses", houses(), target="price")
    project.set({"evaluation.thresholds.rmse.max": "1000000"})
    project.commit()
    return project


@pytest.fixture(scope="session")
def finished_project(new_project, tmp_path_factory):
    """Return a project that has run once, committed; to be read and copied."""
    project = new_project.copy(tmp_path_factory.mktemp("finished") / "houses")
    project.run()
    project.commit()
    return project


@pytest.fixture(scope="session")
def two_versions(finished_project, tmp_path_factory):
    """Return a project with two registered versions that answer otherwise, neither promoted; to be copied."""
    project = finished_project.copy(tmp_path_factory.mktemp("two") / "houses")
    project.set({"model.hyperparameters.random_forest.n_estimators": "7"})
    project.run()
    return project


@pytest.fixture
def fresh(new_project, tmp_path):
    """Return a project of the test's own that has not run yet."""
    return new_project.copy(tmp_path / "houses")


@pytest.fixture
def project(finished_project, tmp_path):
    """Return a project of the test's own that has run once."""
    return finished_project.copy(tmp_path / "houses")


@pytest.fixture
def plain_mlflow(monkeypatch):
    """Return a function that loads a version of a project's model as those do who have MLflow alone."""
    from mlflow import pyfunc

    def load(project, version="1"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", project.config.tracking_uri)
        return pyfunc.load_model(f"models:/{project.config.tracking.model_name}/{version}")

    return load


@dataclass(frozen=True)
class Answer:
    code: int
    stdout: str
    stderr: str


@pytest.fixture
def modelbook(capsys):
    """Return a function that runs the command line in this process and returns its exit code and output."""

    def run(*arguments):
        capsys.readouterr()
        logger = logging.getLogger("modelbook")
        before = logger.level, logger.propagate, logger.handlers
        handler = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        logger.level, logger.propagate, logger.handlers = before
        signal.signal(signal.SIGTERM, handler)
        return Answer(ended.value.code, *capsys.readouterr())

    return run


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def running_mlflow(folder: Path, port: int, *options: str) -> Iterator[str]:
    """Run MLflow's own server on loopback and yield its address."""
    words = ["server", "--backend-store-uri", f"sqlite:///{folder}/server.db", "--port", str(port)]
    words += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1", *options]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            cwd=folder,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health", server)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _wait_for(url: str, server: subprocess.Popen, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 (loopback)
            return
        time.sleep(0.2)
    pytest.fail("MLflow's server did not start")


@pytest.fixture(scope="module")
def free_port():
    """Return a port of loopback where nothing listens."""
    return unused_port()


@pytest.fixture(scope="session")
def run_mlflow():
    """Return a context manager that runs MLflow's server in a folder, on a port."""
    return running_mlflow


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """Return the address of an MLflow server on loopback."""
    with running_mlflow(tmp_path_factory.mktemp("server"), unused_port()) as address:
        yield address


@pytest.fixture(scope="session")
def postgresql():
    """Return the address of the empty database of a PostgreSQL server of the tests' own."""
    debian = ":".join(str(path.parent) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    initdb, pg_ctl = (shutil.which(name) or shutil.which(name, path=debian) for name in ("initdb", "pg_ctl"))
    if None in {initdb, pg_ctl}:
        pytest.skip("PostgreSQL is not installed")
    owner = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = tempfile.mkdtemp(prefix="modelbook-pg-")
    if owner:
        try:
            os.chown(folder, pwd.getpwnam(owner).pw_uid, -1)
        except KeyError:
            pytest.skip("there is no user that PostgreSQL could run as")

    def control(*words):
        subprocess.run(words, user=owner, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    control(initdb, "-D", f"{folder}/data", "-U", "ada", "--auth=trust", "--no-sync")
    port = unused_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    server = (pg_ctl, "-D", f"{folder}/data", "-w", "-o", options, "-l", f"{folder}/log")
    control(*server, "start")
    yield f"postgresql://ada@127.0.0.1:{port}/postgres"
    control(*server, "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def light_project():
    """Return a function that makes a project with three registered versions that nobody trained."""

    def make(root: Path, *, store: Path | None = None, uri: str = "", name: str = "houses") -> Path:
        """Make a project with a model of a name, in MLflow too if a store to copy or an address is given."""
        from modelbook.registry.registry import ModelRegistry

        (root / "config").mkdir(parents=True)
        has_mlflow = bool(store or uri)
        tracking = f"model_name: {name}, uri: {uri}" if uri else f"model_name: {name}"
        settings = f"tracking: {{{tracking}}}\ntraining: {{enable_mlflow: {str(has_mlflow).lower()}}}\n"
        (root / "config/config.yaml").write_text(settings)
        if store:
            (root / "logs").mkdir()
            shutil.copy(store, root / "logs/mlflow.db")
        config = load_config(root)
        numbers = _registered_in_mlflow(config) if has_mlflow else (None, None, None)
        path = root / "model.bin"
        path.write_bytes(b"a model")
        for number in numbers:
            report = {"all_checks_passed": True}
            ModelRegistry(config).register_model(path, {}, report, mlflow_version=number)
        return root

    return make


def _registered_in_mlflow(config):
    from modelbook.tracking.store import open_client
    from modelbook.tracking.versions import DIGEST_TAG

    client, name = open_client(config), config.tracking.model_name
    client.create_registered_model(name)
    digests = [{DIGEST_TAG: f"digest{number}"} for number in (1, 2, 3)]
    made = [client.create_model_version(name, source="s3://none/model", tags=tags) for tags in digests]
    return [str(version.version) for version in made]


class ModelServer:
    """A server of a project's model, in processes of its own on a port of loopback."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def ask(self, path, body=None, timeout_s=10):
        """Return status, headers and content of an answer, asked for on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            headers = {"content-type": "application/json"} if body else {}
            connection.request("POST" if body else "GET", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def predict(self, row):
        """Return status, version and prediction of a row."""
        body = orjson.dumps({"dataframe_records": [row]})
        status, headers, content = self.ask("/invocations", body)
        said = orjson.loads(content).get("predictions", [None])[0]
        return status, headers["x-modelbook-version"], said

    def state(self):
        """Return what the server says of itself."""
        return orjson.loads(self.ask("/readyz")[2])

    def await_state(self, timeout_s=60, **expected):
        """Return what the server says of itself once that is as expected."""
        deadline, found = time.monotonic() + timeout_s, None
        while time.monotonic() < deadline:
            with suppress(OSError, http.client.HTTPException):
                found = self.state()
                if expected.items() <= found.items():
                    return found
            time.sleep(0.05)
        pytest.fail(f"expected {expected}, found {found}, exit code {self.process.poll()}")


@contextmanager
def serving_model(project, *words, port, poll_s=0.2, env=None):
    """Run `modelbook serve` over a project, as a user does."""
    project.set({"serving.port": str(port), "serving.poll_s": str(poll_s)})
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "modelbook", "-C", str(project.root), "serve", *words],
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        server = ModelServer(process, port)
        try:
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(15)
            log.seek(0)
            server.said = log.read()
            sys.stderr.write(server.said[-5000:])


@pytest.fixture(scope="session")
def serve_model():
    """Return a context manager that serves a project's model as a user does."""
    return serving_model


def picture_of(config, *, skip_tags=(), skip_files=()):
    """Return all that a tracking store holds of an experiment and a model, but for ids."""
    from modelbook.tracking.store import open_client

    client = open_client(config)
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    runs = sorted(found, key=lambda run: run.info.start_time)
    ids = {run.info.run_id for run in runs}
    versions = client.search_model_versions(f"name = '{config.tracking.model_name}'")
    return {
        "runs": [_picture_of_run(client, run, skip_tags=skip_tags, skip_files=skip_files) for run in runs],
        "versions": sorted(
            (int(version.version), _without(version.tags, skip_tags), version.run_id in ids)
            for version in versions
        ),
        "models": sorted(
            (str(model.status), model.source_run_id in ids, str(_without(model.tags, skip_tags)))
            for model in client.search_logged_models([experiment.experiment_id])
        )
        if experiment
        else [],
    }


def _without(content, names):
    return {name: value for name, value in sorted(content.items()) if name not in names}


def _picture_of_run(client, run, *, skip_tags, skip_files):
    history = {
        key: sorted(
            (metric.timestamp, metric.step, repr(metric.value))
            for metric in client.get_metric_history(run.info.run_id, key)
        )
        for key in run.data.metrics
    }
    with tempfile.TemporaryDirectory() as folder:
        client.download_artifacts(run.info.run_id, "", folder)
        files = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in Path(folder).rglob("*")
            if path.is_file()
        }
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "history": history,
        "tags": _without(run.data.tags, skip_tags),
        "inputs": sorted((entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs),
        "outputs": len(run.outputs.model_outputs) if run.outputs else 0,
        "files": _without(files, skip_files),
    }


@pytest.fixture(scope="session")
def picture():
    """Return a function that says all that a store holds of an experiment, so that two can be compared."""
    return picture_of


@pytest.fixture(scope="session")
def typed_app():
    """Return the application of a server whose model takes a column of every type."""
    return runpy.run_path(str(Path(__file__).with_name("typed_app.py")))["typed_app"]()
