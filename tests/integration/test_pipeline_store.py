"""The record when the store is off, lost, elsewhere or away."""

import orjson
import pytest

TREES = "model.hyperparameters.random_forest.n_estimators"


def entered_once(before, project):
    """Assert that the store holds the run of `before` once, whole and as it was, under whatever id."""
    (run,) = project.recorded
    metadata = project.metadata
    assert metadata == before
    assert run.data.tags["modelbook.uid"] == metadata.uid
    assert run.info.status == "FINISHED"
    assert {name: run.data.metrics[name] for name in metadata.metrics} == metadata.metrics
    assert run.data.params == metadata.params
    assert run.info.start_time == int(metadata.started_at.timestamp() * 1000)
    assert run.info.end_time == int(metadata.ended_at.timestamp() * 1000)
    assert run.info.run_name == metadata.run_name
    assert project.versions == [1]
    assert [(entry["mlflow_version"], entry["uid"]) for entry in project.registry] == [("1", metadata.uid)]
    return run


@pytest.fixture(scope="module")
def without_mlflow(new_project, tmp_path_factory):
    """A project that ran with MLflow off, with what the run came to."""
    project = new_project.copy(tmp_path_factory.mktemp("local") / "houses")
    (project.root / "logs/mlflow.db").unlink()
    project.set({"training.enable_mlflow": "false"})
    return project, project.run()


def test_without_mlflow_the_local_record_is_whole(without_mlflow):
    """With MLflow off, registry, report, models and journal are there, and no database is made."""
    project, outcome = without_mlflow
    assert (outcome.recorded, outcome.run_id) == ("local", project.metadata.uid)
    assert outcome.model.version is None
    assert outcome.model.local_version == project.registry[0]["version"]
    assert (project.root / project.registry[0]["file"]).is_file()
    for name in ("reports/report.html", "models/model.skops", "logs/evaluation_report.json"):
        assert (project.root / name).is_file()
    assert [path.name for path in (project.root / "logs/runs").iterdir()] == [project.metadata.uid]
    assert not (project.root / "logs/mlflow.db").exists()
    assert not (project.root / "logs/mlruns").exists()


def test_without_mlflow_runs_and_reports_are_found(without_mlflow, modelbook):
    """With MLflow off, `run --json` works, `runs` lists the journal and `report` finds the page."""
    project, _ = without_mlflow
    again = modelbook("-C", project.root, "--json", "run")
    assert (again.code, orjson.loads(again.stdout)["recorded"]) == (0, "local")
    listed = modelbook("-C", project.root, "--json", "runs")
    assert [run["uid"] for run in orjson.loads(listed.stdout)] == [project.metadata.uid]
    found = modelbook("-C", project.root, "--json", "report", "latest")
    assert (found.code, orjson.loads(found.stdout)["run_id"]) == (0, project.metadata.uid)


def test_mlflow_switched_on_later_gets_the_run(without_mlflow, tmp_path):
    """A run that was made with MLflow off is entered when it is switched on, without training."""
    project = without_mlflow[0].copy(tmp_path / "houses")
    before = project.metadata
    project.set({"training.enable_mlflow": "true"})
    outcome = project.run()
    assert [stage.status for stage in outcome.stages] == ["cached"] * 4 + ["ran"]
    assert (outcome.recorded, outcome.model.version) == ("mlflow", "1")
    entered_once(before, project)


def test_a_lost_database_gets_the_run_back(project):
    """Where logs/mlflow.db is gone, the next run enters the run anew, once, and says so."""
    before = project.metadata
    (project.root / "logs/mlflow.db").unlink()
    answer = project.modelbook("--json", "run")
    assert "is not on record: entering it" in answer.stderr
    assert f"does not know run {before.run_id}" in answer.stderr
    run = entered_once(before, project)
    document = orjson.loads(answer.stdout)
    assert (document["run_id"], document["recorded"]) == (run.info.run_id, "mlflow")
    assert [stage["status"] for stage in document["stages"]] == ["cached"] * 4 + ["ran"]


def test_what_was_entered_is_not_entered_again(project):
    """After a lost database, the run after the next has nothing to do."""
    project.set({"tracking.uri": f"sqlite:///{project.root}/logs/other.db"})
    project.run()
    outcome = project.run()
    assert {stage.status for stage in outcome.stages} == {"cached"}
    assert len(project.recorded) == 1


def test_a_lost_registry_is_made_again(project):
    """Where registry.json is gone, the next run enters the model again under MLflow's version of it."""
    before = project.metadata
    (project.root / "models/model_registry/registry.json").unlink()
    outcome = project.run()
    assert [stage.status for stage in outcome.stages] == ["cached"] * 4 + ["ran"]
    assert outcome.model.version == "1"
    entered_once(before, project)


def test_another_store_gets_the_run_without_training(project):
    """A changed tracking.uri enters the run into the other store, and trains nothing."""
    before = project.metadata
    project.set({"tracking.uri": f"sqlite:///{project.root}/logs/other.db"})
    outcome = project.run()
    assert [stage.status for stage in outcome.stages] == ["cached"] * 4 + ["ran"]
    run = entered_once(before, project)
    assert outcome.run_id == run.info.run_id != before.run_id


def test_a_clone_enters_the_run_from_its_cache(project, tmp_path):
    """A new clone with the shared cache restores the outputs, trains nothing and records the run once."""
    before = project.metadata
    clone = type(project)(tmp_path / "clone")
    project.git("clone", "--quiet", str(project.root), str(clone.root))
    clone.dvc("cache", "dir", "--local", str(project.root / ".dvc/cache"))
    clone.dvc("checkout")
    outcome = clone.run()
    assert [stage.status for stage in outcome.stages if stage.name != "register"] == ["cached"] * 4
    assert outcome.recorded == "mlflow"
    entered_once(before, clone)


def test_a_run_by_hand_deleted_in_mlflow_comes_back(project):
    """A run that was deleted in MLflow is entered again: what the outputs say is on record."""
    before = project.metadata
    project.client.delete_run(before.run_id)
    outcome = project.run()
    assert outcome.recorded == "mlflow"
    (run,) = project.recorded
    assert run.data.tags["modelbook.uid"] == before.uid
    assert outcome.run_id == run.info.run_id != before.run_id
