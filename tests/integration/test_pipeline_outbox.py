"""A tracking server that is away, dies or hangs, and what is told to it afterwards."""

import shutil
import socket
import threading
import time
from contextlib import contextmanager
from unittest.mock import Mock

import orjson
import pytest

from modelbook.errors import TrackingStoreError
from modelbook.pipeline import syncing
from modelbook.tracking import channel
from modelbook.tracking.writer import StoreWriter

TREES = "model.hyperparameters.random_forest.n_estimators"


@contextmanager
def listening(answer):
    """Listen on loopback and give each connection to a function; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        kept, is_over = [], threading.Event()

        def serve():
            while not is_over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                kept.append(connection)
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            is_over.set()
            thread.join()
            for connection in kept:
                connection.close()


def silent(_connection):
    """Accept, and never answer."""


def broken(connection):
    """Be in good health, and fail at everything else."""
    with connection:
        request = connection.recv(65536)
        is_health = b" /health" in request.partition(b"\r\n")[0]
        status = b"200 OK" if is_health else b"500 Internal Server Error"
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")


def hanging(connection):
    """Be in good health, and never answer anything else."""
    if b" /health" in connection.recv(65536).partition(b"\r\n")[0]:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")
        connection.close()


def seconds_of(call):
    began = time.monotonic()
    answer = call()
    return answer, time.monotonic() - began


@pytest.mark.parametrize(
    ("answer", "scheme"),
    [(silent, "http"), (broken, "http"), (hanging, "http"), (silent, "postgresql"), (broken, "postgresql")],
)
def test_trying_takes_at_most_five_seconds(fresh, answer, *, scheme, caplog):
    """However a server is unwell, all stages together try it for 5 s at most, and the run ends well."""
    spent = []
    with listening(answer) as address, pytest.MonkeyPatch.context() as patch:
        opened = channel.open_writer

        def timed(*arguments, **options):
            began = time.monotonic()
            try:
                return opened(*arguments, **options)
            finally:
                spent.append(time.monotonic() - began)

        patch.setattr(channel, "open_writer", timed)
        applied = StoreWriter.apply

        def timed_apply(*arguments):
            began = time.monotonic()
            try:
                return applied(*arguments)
            finally:
                spent.append(time.monotonic() - began)

        patch.setattr(StoreWriter, "apply", timed_apply)
        fresh.set({"tracking.uri": f"{scheme}://{address}{'/db' if scheme == 'postgresql' else ''}"})
        outcome = fresh.run(use_dvc=False)
    assert outcome.recorded == "outbox"
    # Importing MLflow, which a healthy server costs too, is part of the first measure.
    assert sum(spent) < 5 + 5
    assert len([line for line in caplog.messages if "waits in logs/outbox" in line]) == 1


@pytest.fixture(scope="module")
def two_runs(new_project, free_port, tmp_path_factory):
    """A project with two runs made while the server was away, the second over the outputs of the first."""
    project = new_project.copy(tmp_path_factory.mktemp("two") / "houses")
    project.set({"tracking.uri": f"http://127.0.0.1:{free_port}"})
    first = project.run(), project.metadata
    project.set({TREES: "6"})
    return project, (first, (project.run(), project.metadata))


def test_what_waits_is_shown(two_runs, modelbook):
    """`runs` and `models` show what waits, say that the server is away, and accept the runs' own ids."""
    project, runs = two_runs
    listed = modelbook("-C", project.root, "--json", "runs", "--sort", "metrics.test_rmse")
    assert listed.code == 0
    assert "does not answer" in listed.stderr
    shown = orjson.loads(listed.stdout)
    assert {run["uid"] for run in shown} == {metadata.uid for _, metadata in runs}
    assert {(run["recorded"], run["status"], run["gate"]) for run in shown} == {
        ("outbox", "FINISHED", "passed")
    }
    models = modelbook("-C", project.root, "--json", "models")
    assert [version["is_waiting"] for version in orjson.loads(models.stdout)] == [True, True]
    found = modelbook("-C", project.root, "--json", "report", runs[0][1].uid[:12])
    assert orjson.loads(found.stdout)["run_id"] == runs[0][1].uid
    filtered = modelbook("-C", project.root, "runs", "--filter", "params.algorithm = 'x'")
    assert filtered.code == 7


def test_sync_without_an_answer(two_runs, modelbook):
    """`sync` with the server still away exits 7, and says what waits."""
    project, runs = two_runs
    answer = modelbook("-C", project.root, "--json", "sync")
    assert answer.code == 7
    document = orjson.loads(answer.stdout)
    assert [run["uid"] for run in document["waiting"]] == [metadata.uid for _, metadata in runs]
    assert (document["delivered"], document["error"]["code"]) == ([], "tracking_store.away")
    spoken = modelbook("-C", project.root, "sync")
    assert (spoken.code, spoken.stdout.count("waiting ")) == (7, 2)


def test_sync_delivers_every_run_once(two_runs, run_mlflow, *, free_port, tmp_path, modelbook):
    """Two offline runs come to two runs and versions; a second `sync` has nothing to do."""
    project = two_runs[0].copy(tmp_path / "houses")
    with run_mlflow(tmp_path, free_port):
        answer = modelbook("-C", project.root, "--json", "sync")
        assert answer.code == 0
        delivered = orjson.loads(answer.stdout)["delivered"]
        assert [run["versions"][0]["version"] for run in delivered] == ["1", "2"]
        for _ in range(2):
            for run, (_, metadata) in zip(project.recorded, two_runs[1], strict=True):
                assert run.data.tags["modelbook.uid"] == metadata.uid
                assert run.data.metrics == metadata.metrics
                assert run.info.end_time == int(metadata.ended_at.timestamp() * 1000)
            assert project.versions == [1, 2]
            entries = [(entry["mlflow_version"], entry["run_id"]) for entry in project.registry]
            ids = [run.info.run_id for run in project.recorded]
            assert entries == [("1", ids[0]), ("2", ids[1])]
            again = modelbook("-C", project.root, "sync")
            assert (again.code, "nothing is waiting" in again.stdout) == (0, True)
        assert {stage.status for stage in project.run().stages} == {"cached"}
        found = modelbook("-C", project.root, "--json", "report", two_runs[1][0][1].uid[:12])
        assert orjson.loads(found.stdout)["run_id"] == project.recorded[0].info.run_id
        assert list((project.root / "logs/outbox").glob("[!.]*")) == []


def test_dvc_repro_waits_and_delivers(new_project, run_mlflow, *, free_port, tmp_path):
    """`dvc repro` with the server away waits in the outbox; the next one that trains delivers it."""
    project = new_project.copy(tmp_path / "houses")
    project.set({"tracking.uri": f"http://127.0.0.1:{free_port}"})
    assert project.dvc("repro").count("does not answer") == 1
    first = project.metadata
    with run_mlflow(tmp_path, free_port):
        project.set({TREES: "6"})
        project.dvc("repro")
        uids = [run.data.tags["modelbook.uid"] for run in project.recorded]
        assert uids == [first.uid, project.metadata.uid]
        assert project.versions == [1, 2]
        assert [entry["mlflow_version"] for entry in project.registry] == ["1", "2"]


def test_nothing_to_sync(project, modelbook):
    """Where nothing waits, `sync` says so and asks no server."""
    project.set({"tracking.uri": "http://127.0.0.1:9"})
    answer = modelbook("-C", project.root, "sync")
    assert (answer.code, "nothing is waiting" in answer.stdout) == (0, True)
    assert orjson.loads(modelbook("-C", project.root, "--json", "sync").stdout) == {
        "delivered": [],
        "waiting": [],
    }


def test_a_locked_database_midway(project):
    """Where the project's own database stays locked, the run goes on, and the next one delivers it."""
    import sqlite3

    project.set({TREES: "7"})
    database = sqlite3.connect(project.root / "logs/mlflow.db", timeout=30, isolation_level=None)
    from modelbook.pipeline import training

    fit = training._fit

    def fit_and_lock(*arguments):
        fit(*arguments)
        database.execute("BEGIN EXCLUSIVE")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_fit", fit_and_lock)
        try:
            outcome = project.run()
        finally:
            database.close()
    assert outcome.recorded == "outbox"
    outcome = project.run()
    assert (outcome.recorded, outcome.model.version) == ("mlflow", "2")
    assert len(project.recorded) == 2
    assert project.recorded[1].data.metrics == project.metadata.metrics
    assert [path.name for path in (project.root / "logs/outbox").iterdir()] == [".lock"]


@pytest.fixture
def begun_elsewhere(project, empty_store):
    """A project whose store went away in the middle of a run, and came back without all that it held."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def gone(*_args, **_options):
        raise MlflowException("the store went away")

    project.set({TREES: "6"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "create_logged_model", gone)
        assert project.run().recorded == "outbox"
    shutil.copy(empty_store, project.root / "logs/mlflow.db")
    return project


def whole_once(project):
    """Assert that the store holds the run whose outputs lie there, whole and once, with its version."""
    (run,) = project.recorded
    metadata = project.metadata
    assert run.info.status == "FINISHED"
    assert (run.data.params, run.data.metrics) == (metadata.params, metadata.metrics)
    assert run.info.end_time == int(metadata.ended_at.timestamp() * 1000)
    assert run.data.tags["modelbook.gate"] == "passed"
    assert "modelbook.incomplete" not in run.data.tags
    artifacts = {entry.path for entry in project.client.list_artifacts(run.info.run_id)}
    assert {"metadata.json", "report.html", "evaluation_report.json", "config.yaml"} <= artifacts
    assert project.versions == [1]
    numbers = {entry["uid"]: (entry["mlflow_version"], entry["run_id"]) for entry in project.registry}
    assert numbers[metadata.uid] == ("1", run.info.run_id)
    assert {stage.status for stage in project.run().stages} == {"cached"}
    assert len(project.recorded) == 1


def test_sync_enters_a_run_whole_whose_beginning_is_lost(begun_elsewhere, modelbook):
    """A database lost in the middle of a run gets it whole out of its outputs, with `sync` alone."""
    project = begun_elsewhere
    answer = modelbook("-C", project.root, "--json", "sync")
    (delivered,) = orjson.loads(answer.stdout)["delivered"]
    assert (answer.code, delivered["status"], delivered["incomplete"]) == (0, "FINISHED", None)
    assert [version["version"] for version in delivered["versions"]] == ["1"]
    whole_once(project)


def test_a_run_enters_the_one_before_whole(begun_elsewhere):
    """So does the next run, before its own training replaces the outputs."""
    project = begun_elsewhere
    before = project.metadata
    project.set({TREES: "7"})
    project.run()
    runs = {run.data.tags["modelbook.uid"]: run for run in project.recorded}
    assert set(runs) == {before.uid, project.metadata.uid}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs[before.uid].data.metrics == before.metrics
    assert project.versions == [1, 2]


def test_an_entry_that_broke_off_is_made_by_the_next_run(begun_elsewhere, caplog):
    """Where only the end was delivered, the run is FAILED and tagged, and the next run enters it whole."""
    project = begun_elsewhere
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syncing, "enter_again", Mock(side_effect=TrackingStoreError("no")))
        report, error = syncing.sync(project.config)
    assert (error, report.delivered[0].status) == (None, "FAILED")
    (run,) = project.recorded
    assert (run.info.status, "modelbook.incomplete" in run.data.tags) == ("FAILED", True)
    assert project.run().recorded == "mlflow"
    assert "is not on record: entering it" in caplog.text
    whole_once(project)


def test_a_lost_beginning_without_outputs_is_said(begun_elsewhere, modelbook):
    """Where the outputs are gone too, what is left is delivered, FAILED and tagged, and said in words."""
    project = begun_elsewhere
    (project.root / "models/model.skops").unlink()
    answer = modelbook("-C", project.root, "sync")
    assert answer.code == 0
    assert "stands there as FAILED: it began as run" in answer.stdout
    (run,) = project.recorded
    assert run.info.status == "FAILED"
    assert run.data.tags["modelbook.incomplete"].startswith("it began as run ")
    assert "nothing is waiting" in modelbook("-C", project.root, "sync").stdout
