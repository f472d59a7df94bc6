"""A tracking store that is away, or goes away while a run is on."""

import sys
import time

import orjson
import pytest

TREES = "model.hyperparameters.random_forest.n_estimators"


@pytest.fixture(scope="module")
def run_alone(new_project, free_port, tmp_path_factory):
    """A project that ran while its tracking server was away, with what the run came to."""
    project = new_project.copy(tmp_path_factory.mktemp("away") / "houses")
    project.set({"tracking.uri": f"http://127.0.0.1:{free_port}"})
    return project, project.run()


def test_a_dead_server_does_not_stop_a_run(run_alone):
    """With the server away a run is done, and waits in the outbox."""
    project, outcome = run_alone
    assert outcome.recorded == "outbox"
    assert outcome.run_id == project.metadata.uid
    assert outcome.model.version is None
    assert outcome.model.local_version == project.registry[0]["version"]


def test_a_dead_server_is_said_and_exits_0(run_alone, modelbook):
    """The command line warns that the server does not answer, and exits 0."""
    answer = modelbook("-C", run_alone[0].root, "--json", "run")
    assert answer.code == 0
    assert "warning: the tracking server does not answer" in answer.stderr
    assert orjson.loads(answer.stdout)["recorded"] == "outbox"


def test_a_dead_server_costs_seconds(fresh, run_alone, tmp_path):
    """A run with the server away takes at most ten seconds longer than one with a store."""
    away = fresh.copy(tmp_path / "away")
    away.set({"tracking.uri": run_alone[0].config.tracking.uri})
    seconds = []
    for project in (fresh, away):
        began = time.monotonic()
        project.run(use_dvc=False)
        seconds.append(time.monotonic() - began)
    assert seconds[1] < seconds[0] + 10


def test_a_dead_server_does_not_make_a_further_run(run_alone):
    """Running again with the server still away trains nothing, and what waits goes on waiting."""
    project, _ = run_alone
    before = project.metadata
    outcome = project.run()
    assert [stage.status for stage in outcome.stages[:4]] == ["cached"] * 4
    assert (outcome.recorded, project.metadata) == ("outbox", before)


@pytest.fixture
def start_server(run_mlflow, free_port, tmp_path):
    """Return a context manager that starts the server."""
    return lambda: run_mlflow(tmp_path, free_port)


def test_the_server_gets_the_run_once_it_is_there(run_alone, start_server, tmp_path):
    """Once the server answers, the next run enters what was recorded, once, with its own times."""
    project = run_alone[0].copy(tmp_path / "houses")
    with start_server():
        outcome = project.run()
        assert (outcome.recorded, outcome.model.version) == ("mlflow", "1")
        assert {stage.status for stage in project.run().stages} == {"cached"}
        (run,) = project.recorded
        assert run.data.tags["modelbook.uid"] == project.metadata.uid
        assert run.info.start_time == int(project.metadata.started_at.timestamp() * 1000)
        assert run.data.metrics == project.metadata.metrics
        assert project.registry[0]["mlflow_version"] == "1"
        artifacts = {entry.path for entry in project.client.list_artifacts(run.info.run_id)}
        assert {"metadata.json", "report.html", "evaluation_report.json"} <= artifacts


@pytest.fixture
def break_store(monkeypatch):
    """Return a function that makes MLflow fail at one of the client's methods, and one that mends it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def gone(*_args, **_options):
        raise MlflowException("the store went away")

    def break_at(method):
        monkeypatch.setattr(MlflowClient, method, gone)

    return break_at, monkeypatch.undo


@pytest.mark.parametrize("method", ["log_batch", "log_artifact", "create_logged_model", "set_terminated"])
def test_a_store_lost_while_training_loses_nothing(project, break_store, method):
    """Where the store fails after the fit, the run ends well and its own run is made whole later."""
    break_at, mend = break_store
    project.set({TREES: "6"})
    break_at(method)
    outcome = project.run()
    assert outcome.recorded == "outbox"
    assert project.recorded[1].info.status != "FINISHED"
    mend()
    outcome = project.run()
    assert [stage.status for stage in outcome.stages[:4]] == ["cached"] * 4
    assert (outcome.recorded, outcome.model.version) == ("mlflow", "2")
    _, run = project.recorded
    assert (run.info.run_id, run.info.status) == (outcome.run_id, "FINISHED")
    assert run.data.metrics == project.metadata.metrics


@pytest.mark.parametrize("method", ["set_tag", "create_model_version", "log_artifact"])
def test_a_store_lost_while_registering_loses_nothing(project, break_store, method):
    """Where the store fails while the model is registered, the next run does what is missing."""
    break_at, mend = break_store
    project.set({TREES: "6"})
    break_at("log_batch" if method == "set_tag" else method)
    assert project.run().recorded == "outbox"
    mend()
    outcome = project.run()
    assert (outcome.recorded, outcome.model.version) == ("mlflow", "2")
    assert {stage.status for stage in project.run().stages} == {"cached"}
    run = project.recorded[1]
    assert run.data.tags["modelbook.gate"] == "passed"
    assert "report.html" in {entry.path for entry in project.client.list_artifacts(run.info.run_id)}


@pytest.mark.parametrize("method", ["log_artifact", "log_model_artifacts"])
def test_an_artifact_store_that_lets_nobody_in(project, monkeypatch, method):
    """Whatever the library behind an artifact store raises, the run goes on and waits in the outbox."""
    from mlflow import MlflowClient

    def expired(*_args, **_options):
        raise LookupError("the token has expired")  # none of the errors of MLflow

    project.set({TREES: "6"})
    monkeypatch.setattr(MlflowClient, method, expired)
    assert project.run().recorded == "outbox"
    monkeypatch.undo()
    outcome = project.run()
    assert [stage.status for stage in outcome.stages[:4]] == ["cached"] * 4
    assert (outcome.recorded, outcome.model.version) == ("mlflow", "2")


def test_an_artifact_store_that_nothing_talks_to(
    fresh, run_mlflow, *, free_port, tmp_path, modelbook, monkeypatch
):
    """Where the library behind an artifact store is missing, a run exits 7 before its fit and names it."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    fresh.set({"tracking.uri": f"http://127.0.0.1:{free_port}"})
    options = ("--no-serve-artifacts", "--default-artifact-root", "s3://nowhere/runs")
    with run_mlflow(tmp_path, free_port, *options):
        answer = modelbook("-C", fresh.root, "run", "--no-dvc")
        assert [run.info.status for run in fresh.recorded] == ["FAILED"]
    assert answer.code == 7
    assert "what talks to the artifact store is not installed" in answer.stderr
    assert "boto3 for s3://" in answer.stderr
    assert not (fresh.root / "models/model.skops").exists()


def test_a_damaged_database_stops_before_training(fresh, modelbook):
    """A store of the project's own that cannot be used exits 7 and says which, before anything is fitted."""
    (fresh.root / "logs/mlflow.db").write_text("no database at all")
    answer = modelbook("-C", fresh.root, "run")
    assert answer.code == 7
    assert "the tracking store cannot be used" in answer.stderr
    assert str(fresh.root / "logs/mlflow.db") in answer.stderr
    assert not (fresh.root / "models/metadata.json").exists()


def test_a_file_store_is_refused_with_the_way_out(fresh, modelbook):
    """A tracking.uri that is a folder exits 7 and names the command that migrates it."""
    fresh.set({"tracking.uri": "mlruns"})
    answer = modelbook("-C", fresh.root, "run")
    assert answer.code == 7
    assert "mlflow migrate-filestore" in answer.stderr


def test_an_old_file_store_is_pointed_out(project, modelbook):
    """Where an old mlruns/ lies about, a run says so, and how to migrate it."""
    (project.root / "mlruns/0").mkdir(parents=True)
    project.write("mlruns/0/meta.yaml", "name: Default\n")
    answer = modelbook("-C", project.root, "run")
    assert answer.code == 0
    assert "an old MLflow file store lies in mlruns/" in answer.stderr
    assert "mlflow migrate-filestore" in answer.stderr


def test_a_deleted_experiment_is_said(project, modelbook):
    """An experiment that was deleted in MLflow exits 7 and names it."""
    experiment = project.client.get_experiment_by_name(project.config.tracking.experiment)
    project.client.delete_experiment(experiment.experiment_id)
    project.set({TREES: "6"})
    answer = modelbook("-C", project.root, "run")
    assert answer.code == 7
    assert f"'{project.config.tracking.experiment}'" in answer.stderr
