"""The tracker around a user's own code, as in a notebook: no pipeline, no command line."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge

import modelbook
from modelbook.config import load_config
from modelbook.errors import ModelRefusedError, TrackingStoreError, UsageError
from modelbook.files import file_hash
from modelbook.tracking import channel
from modelbook.tracking.abandoned import PROCESS_TAG, process_tags
from modelbook.tracking.tracker import MLflowTracker


@pytest.fixture
def settings(empty_store, tmp_path, monkeypatch):
    """Return settings as a dictionary, for a folder with a repository, a table and an empty store."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    shutil.copy(empty_store, tmp_path / "logs/mlflow.db")
    (tmp_path / "notebook.py").write_text("# three lines\n")
    (tmp_path / "table.csv").write_text("a,price\n1,2\n")
    (tmp_path / ".gitignore").write_text("logs/\n")
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "notebook"]):
        subprocess.run(["git", *words], check=True)
    return {"data": {"source": "table.csv", "target": "price"}, "tracking": {"experiment": "by hand"}}


@pytest.fixture
def tracker(settings):
    return MLflowTracker(settings)


def run_of(tracker):
    return tracker._client.get_run(tracker.run_id)


def fitted(estimator):
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=40), "b": random.normal(size=40)})
    return estimator.fit(table, table["a"]), table


def test_three_lines_record_the_lineage(tracker, tmp_path):
    """Around a user's own code the run carries commit, data, environment, settings and command."""
    with tracker:
        tracker.start_run("by hand")
        tracker.log_params({"alpha": 1.0})
        tracker.log_metrics({"rmse": 0.5})
        tracker.log_artifact(tmp_path / "notebook.py")
    run = run_of(tracker)
    assert (run.info.run_name, run.info.status) == ("by hand", "FINISHED")
    assert (run.data.params, run.data.metrics) == ({"alpha": "1.0"}, {"rmse": 0.5})
    tags = run.data.tags
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert tags["mlflow.source.git.commit"] == commit.stdout.strip()
    assert tags["modelbook.git.dirty"] == "false"
    assert tags["modelbook.config_sha256"] == tracker.config.sha256
    assert tags["modelbook.data.table.csv"] == file_hash(tmp_path / "table.csv", "md5")
    assert {"modelbook.environment_sha256", "modelbook.command", "modelbook.seed.training"} <= tags.keys()
    (entry,) = run.inputs.dataset_inputs
    assert entry.dataset.digest == tags["modelbook.data.table.csv"]
    artifacts = [entry.path for entry in tracker._client.list_artifacts(tracker.run_id)]
    assert artifacts == ["config.yaml", "environment.lock", "notebook.py"]


def test_what_differs_from_the_commit_is_recorded(tracker, tmp_path):
    """Changes that are not committed are an artifact of the run, from its first moment on."""
    (tmp_path / "notebook.py").write_text("# four lines\n")
    tracker.start_run()
    patch = tracker._client.download_artifacts(tracker.run_id, "uncommitted.patch")
    assert "+# four lines" in Path(patch).read_text()
    assert run_of(tracker).data.tags["modelbook.git.dirty"] == "true"


def test_a_model_logged_by_hand_passed_no_gate(tracker):
    """A model registered by hand carries gate=none, and loads to what it was."""
    model, table = fitted(Ridge())
    with tracker:
        tracker.start_run()
        assert tracker.log_model(model, registered_model_name="mine") == "1"
    version = tracker._client.get_model_version("mine", "1")
    assert version.tags["modelbook.gate"] == "none"
    again = modelbook.load_model("models:/mine/1")
    assert np.array_equal(again.predict(table), model.predict(table))


def test_a_model_that_is_not_registered(tracker):
    """Without a name the model is with the run and in no registry."""
    model, table = fitted(RandomForestRegressor(2, random_state=0))
    with tracker:
        tracker.start_run()
        assert tracker.log_model(model) is None
    assert tracker._client.search_registered_models() == []
    assert np.array_equal(
        modelbook.load_model(f"runs:/{tracker.run_id}").predict(table), model.predict(table)
    )


def test_a_model_that_could_not_be_loaded_again_is_refused(tracker):
    """A model of a class that only this process has is refused, and the run says that it failed."""

    class Local(Ridge):
        pass

    tracker.start_run()
    with pytest.raises(ModelRefusedError), tracker:
        tracker.log_model(fitted(Local())[0], "mine")
    assert run_of(tracker).info.status == "FAILED"
    assert tracker._client.search_registered_models() == []


def test_the_first_thing_logged_opens_a_run(tracker):
    """Without start_run the first value opens a run with a name of its own."""
    tracker.log_metrics({"rmse": 1.0})
    tracker.end_run()
    run = run_of(tracker)
    assert run.info.run_name.startswith("random_forest_2")
    assert (run.data.metrics, run.info.status) == ({"rmse": 1.0}, "FINISHED")


def test_metrics_by_step(tracker):
    """Values of several steps are kept with their steps."""
    tracker.start_run()
    for step in range(3):
        tracker.log_metrics({"loss": 1 / (step + 1)}, step=step)
    history = tracker._client.get_metric_history(tracker.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]


@pytest.mark.parametrize(("error", "status"), [(ZeroDivisionError, "FAILED"), (SystemExit, "KILLED")])
def test_an_exception_ends_the_run(tracker, error, status):
    """An exception goes on its way and leaves a run that says so."""
    tracker.start_run()
    with pytest.raises(error), tracker:
        raise error
    assert run_of(tracker).info.status == status


def test_a_start_that_fails_leaves_the_run_before_alone(tracker, monkeypatch):
    """What is logged after it goes to a run of its own, and the finished one stays as it is."""
    first = tracker.start_run("first")
    tracker.end_run()
    with monkeypatch.context() as patch:
        patch.setattr(tracker, "_read_lineage", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tracker.start_run("second")
    tracker.end_run("FAILED")
    tracker.log_metrics({"rmse": 1.0})
    assert tracker.run_id != first
    run = tracker._client.get_run(first)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {})


def test_a_model_adds_nothing_to_the_history(tracker):
    """The model carries each metric's last point; the run's points stay those that were logged."""
    for step, loss in enumerate((3.0, 2.0, 1.0)):
        tracker.log_metrics({"loss": loss}, step=step)
    model, _ = fitted(Ridge())
    tracker.log_model(model)
    history = tracker._client.get_metric_history(tracker.run_id, "loss")
    assert sorted({(point.step, point.value) for point in history}) == [(0, 3.0), (1, 2.0), (2, 1.0)]


def test_one_run_at_a_time(tracker):
    """A second start_run is refused while a run is open; after end_run a new one begins."""
    first, uid = tracker.start_run(), tracker.uid
    with pytest.raises(UsageError, match="open already"):
        tracker.start_run()
    tracker.end_run()
    second = tracker.start_run()
    tracker.end_run()
    assert first != second
    assert tracker._client.get_run(first).data.tags["modelbook.uid"] == uid
    assert run_of(tracker).data.tags["modelbook.uid"] == tracker.uid != uid


def test_ending_twice_is_no_error(tracker):
    """end_run without an open run does nothing."""
    tracker.end_run()
    tracker.start_run()
    tracker.end_run()
    tracker.end_run("FAILED")
    assert run_of(tracker).info.status == "FINISHED"


def test_with_mlflow_off_nothing_is_recorded(settings, tmp_path):
    """With training.enable_mlflow off every call is taken, none does anything, and MLflow is not imported."""
    (tmp_path / "logs/mlflow.db").unlink()
    tracker = MLflowTracker(settings | {"training": {"enable_mlflow": False}})
    with tracker:
        assert tracker.start_run() == tracker.uid
        tracker.log_params({"a": 1})
        tracker.log_metrics({"b": 2})
        tracker.set_tags({"c": 3})
        tracker.log_artifact(tmp_path / "notebook.py")
        assert tracker.log_model(fitted(Ridge())[0], "mine") is None
    assert not tracker.is_recording
    assert list((tmp_path / "logs").iterdir()) == []


OFF = """
import sys
from modelbook import MLflowTracker

with MLflowTracker({"training": {"enable_mlflow": False}}) as tracker:
    tracker.start_run()
    tracker.log_params({"a": 1})
    tracker.log_metrics({"b": 2})
sys.exit("mlflow" in sys.modules)
"""


def test_with_mlflow_off_it_is_not_imported(tmp_path):
    """With MLflow off the seconds that it takes to import are saved."""
    assert subprocess.run([sys.executable, "-c", OFF], cwd=tmp_path, check=False).returncode == 0


def test_a_dead_server_is_said_once(settings, free_port, caplog):
    """With the server away everything is taken, and one warning says where the run is on record."""
    tracking = {"uri": f"http://ann:hush@127.0.0.1:{free_port}"}
    with caplog.at_level(logging.WARNING), MLflowTracker(settings | {"tracking": tracking}) as tracker:
        tracker.start_run()
        tracker.log_params({"a": 1})
        tracker.log_metrics({"b": 2})
    (said,) = [record.message for record in caplog.records if record.name.startswith("modelbook")]
    assert "does not answer" in said
    assert "hush" not in said


def test_a_store_of_files_is_refused(settings):
    """A folder as a store is refused with the way to migrate it."""
    with pytest.raises(TrackingStoreError) as caught:
        MLflowTracker(settings | {"tracking": {"uri": "mlruns"}})
    assert "migrate-filestore" in caught.value.hint


def test_its_parts(settings):
    """config, training_config and logger are there, as the contract names them."""
    tracker = MLflowTracker(load_config(settings))
    assert tracker.config.tracking.experiment == "by hand"
    assert tracker.training_config is tracker.config.training
    tracker.logger.info("a word")


def test_a_start_closes_what_a_killed_process_left_open(tracker):
    """A run says which process writes it; where that is gone, the next start of the project marks it."""
    with tracker:
        tracker.start_run()
        left = tracker._client.create_run(
            run_of(tracker).info.experiment_id, tags=process_tags(tracker.config) | {PROCESS_TAG: "1 0"}
        )
    assert run_of(tracker).data.tags.items() >= process_tags(tracker.config).items()
    first = tracker.run_id
    tracker.start_run()
    assert tracker._client.get_run(left.info.run_id).info.status == "KILLED"
    assert tracker._client.get_run(first).info.status == "FINISHED"
    assert run_of(tracker).info.status == "RUNNING"


def test_a_store_that_refuses_to_close_others_takes_the_run(tracker, monkeypatch, caplog):
    """Where the open runs cannot be closed, that is said, and the run of one's own goes on."""

    def refuse(*_, **__):
        raise TrackingStoreError("the tracking store cannot be used", got="not yours")

    monkeypatch.setattr(channel, "close_abandoned", refuse)
    with caplog.at_level(logging.WARNING), tracker:
        tracker.start_run()
    assert run_of(tracker).info.status == "FINISHED"
    assert "runs of killed processes stay open in the tracking store: not yours" in caplog.text
