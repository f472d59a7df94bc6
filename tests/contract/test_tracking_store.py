"""What every tracking store does alike: SQLite, MLflow's server over HTTP, PostgreSQL."""

import math
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import Ridge

from modelbook.config import load_config
from modelbook.errors import NotFoundError, TrackingStoreError, UsageError
from modelbook.pipeline.recording import ensure_entered
from modelbook.records import DataVersion
from modelbook.registry.loading import load_model
from modelbook.tracking import versions
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.events import PARENT_UID_TAG
from modelbook.tracking.runs import find_run, list_runs
from modelbook.tracking.store import knows, read_only
from modelbook.tracking.tracker import MLflowTracker
from modelbook.tracking.writer import open_writer

BEGAN = datetime(2026, 11, 21, 9, 5, 7, 123000, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "http", "postgresql"])
def uri(request, empty_store, tmp_path):
    """Return the address of a store of each kind."""
    if request.param == "sqlite":
        shutil.copy(empty_store, tmp_path / "mlflow.db")
        return f"sqlite:///{tmp_path}/mlflow.db"
    return request.getfixturevalue({"http": "mlflow_server"}.get(request.param, request.param))


@pytest.fixture
def config(uri, tmp_path, monkeypatch):
    """Return settings whose experiment and model are the test's own."""
    monkeypatch.chdir(tmp_path)
    name = tmp_path.name
    return load_config({"tracking": {"uri": uri, "experiment": name, "model_name": name}})


@pytest.fixture
def tracker(config):
    return MLflowTracker(config, clock=lambda: BEGAN)


def run_of(tracker):
    return tracker._client.get_run(tracker.run_id)


def test_a_run_comes_back_as_it_was_written(tracker):
    """Name, times, status, params, metrics, tags and inputs are what was written.

    MLflow keeps NaN, and an infinity as the largest number that there is.
    """
    values = {"rmse": 1 / 3, "never": math.nan, "above": math.inf, "below": -math.inf, "whole": 2}
    with tracker:
        tracker.start_run("forest_1", started_at=BEGAN)
        tracker.log_params({"depth": None, "rate": 0.1, "größe": "ä"})
        tracker.log_metrics(values, moment=BEGAN)
        tracker.set_tags({"stage": "a", "note": "größer"})
        tracker.set_tags({"stage": "b"})
        tracker.log_inputs([DataVersion(path="data/raw/a.csv", md5="d" * 32, size_bytes=7, rows=3)])
        tracker.end_run(ended_at=BEGAN + timedelta(seconds=5))
    run = run_of(tracker)
    stamp = int(BEGAN.timestamp() * 1000)
    assert (run.info.run_name, run.info.status) == ("forest_1", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (stamp, stamp + 5000)
    assert run.data.params == {"depth": "None", "rate": "0.1", "größe": "ä"}
    largest = sys.float_info.max
    assert math.isnan(run.data.metrics.pop("never"))
    assert run.data.metrics == {"rmse": 1 / 3, "above": largest, "below": -largest, "whole": 2.0}
    assert (run.data.tags["stage"], run.data.tags["note"]) == ("b", "größer")
    assert run.data.tags["modelbook.uid"] == tracker.uid
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("data/raw/a.csv", "d" * 32)


def test_many_and_long_values(tracker):
    """Hundreds of values are taken, and a value too long for the store is cut off, not refused."""
    tracker.start_run()
    tracker.log_params({f"p{number}": number for number in range(250)} | {"long": "x" * 9000})
    tracker.log_metrics({f"m{number}": number for number in range(250)})
    tracker.end_run()
    run = run_of(tracker)
    assert len(run.data.params) == 251
    assert len(run.data.metrics) == 250
    assert run.data.params["long"].endswith("x…")


def test_names_that_mlflow_refuses(tracker):
    """Params, metrics and tags of any name are taken, under keys that can be read; MLflow refuses them."""
    tracker.start_run()
    tracker.log_params({"Ticket #": 1, "a//b": 2, "x" * 300: 3})
    tracker.log_metrics({"rmse (net)": 1.0})
    tracker.set_tags({"why?": "so"})
    data = run_of(tracker).data
    assert {"Ticket _x23_", "a_x2F__x2F_b"} < data.params.keys()
    assert (data.metrics, data.tags["why_x3F_"]) == ({"rmse _x28_net_x29_": 1.0}, "so")


def test_writing_twice_changes_nothing(tracker):
    """The same values again are no error; another value of a parameter is."""
    tracker.start_run()
    for _ in range(2):
        tracker.log_params({"depth": 3})
        tracker.log_metrics({"rmse": 1.5})
        tracker.log_inputs([DataVersion(path="a", md5="1", size_bytes=1)])
    assert len(tracker._client.get_metric_history(tracker.run_id, "rmse")) == 1
    assert len(run_of(tracker).inputs.dataset_inputs) == 1
    with pytest.raises(TrackingStoreError):
        tracker.log_params({"depth": 4})


def test_artifacts_come_back(tracker, tmp_path):
    """A file and a folder are downloaded byte for byte."""
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/a b.bin").write_bytes(bytes(range(256)))
    (tmp_path / "note.txt").write_text("größer\n")
    tracker.start_run()
    tracker.log_artifacts(tmp_path / "plots")
    tracker.log_artifact(tmp_path / "note.txt", "notes")
    folder = Path(tracker._client.download_artifacts(tracker.run_id, ""))
    assert (folder / "a b.bin").read_bytes() == bytes(range(256))
    assert (folder / "notes/note.txt").read_text() == "größer\n"


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_how_a_run_ends(tracker, error, status):
    """Left well a run is FINISHED, by an exception FAILED, by an interruption KILLED."""
    try:
        with tracker:
            tracker.start_run()
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert run_of(tracker).info.status == status


def test_a_run_is_found_by_either_id(tracker, config):
    """A run is found by the store's id and by its own; a deleted one is not."""
    run_id = tracker.start_run()
    tracker.end_run()
    writer, place = open_writer(config), config.tracking.experiment
    assert writer.find_run(run_id=run_id, uid="?", experiment=place).info.run_id == run_id
    assert writer.find_run(run_id="elsewhere", uid=tracker.uid, experiment=place).info.run_id == run_id
    assert writer.find_run(run_id="0" * 32, uid="1" * 32, experiment=place) is None
    writer.client.delete_run(run_id)
    assert writer.find_run(run_id=run_id, uid=tracker.uid, experiment=place) is None


@pytest.fixture
def fitted():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=40), "b": random.normal(size=40)})
    return Ridge().fit(table, table["a"] * 2), table


def test_a_model_is_held_and_registered_once(tracker, config, fitted):
    """A model of one digest is one logged model and one version, and loads to what it was."""
    model, table = fitted
    name = config.tracking.model_name
    tracker.start_run()
    tracker.log_metrics({"rmse": 0.5})
    assert [tracker.log_model(model, name) for _ in range(2)] == ["1", "1"]
    tracker.end_run()
    assert len(run_of(tracker).outputs.model_outputs) == 1
    version = tracker._client.get_model_version(name, "1")
    assert version.tags["modelbook.gate"] == "none"
    assert version.run_id == tracker.run_id
    for ref in (f"models:/{name}/1", f"runs:/{tracker.run_id}"):
        assert np.array_equal(load_model(ref, config=config).predict(table), model.predict(table))
    second = MLflowTracker(config)
    second.start_run()
    changed = Ridge(alpha=5).fit(table, table["a"])
    assert second.log_model(changed, name) == "2"


def test_an_alias_names_a_version(tracker, config, fitted):
    """A version is found by an alias; an unknown name, version or alias is not found."""
    model, table = fitted
    name = config.tracking.model_name
    with tracker:
        tracker.log_model(model, name)
    tracker._client.set_registered_model_alias(name, "production", "1")
    found = load_model(f"models:/{name}@production", config=config)
    assert np.array_equal(found.predict(table), model.predict(table))
    for ref in (f"models:/{name}@staging", f"models:/{name}/9", "models:/nobody/1", "runs:/" + "0" * 32):
        with pytest.raises(NotFoundError):
            load_model(ref, config=config)


def test_what_the_store_knows(tracker, config, fitted):
    """Asked the short way, the store says whether it holds a run and a version."""
    name = config.tracking.model_name
    with tracker:
        tracker.log_model(fitted[0], name)
    assert knows(config, run_id=tracker.run_id, model=name, version="1")
    assert knows(config, run_id=tracker.run_id, model=name, version=None)
    assert not knows(config, run_id=tracker.run_id, model=name, version="2")
    assert not knows(config, run_id="0" * 32, model=name, version="1")
    tracker._client.delete_run(tracker.run_id)
    assert not knows(config, run_id=tracker.run_id, model=name, version=None)


def test_runs_are_listed_sorted_and_filtered(config):
    """Runs come newest first, or by a metric, or those of a filter; a wrong filter is said."""
    assert list_runs(config) == []
    for number in range(3):
        with MLflowTracker(config) as tracker:
            tracker.start_run(f"run {number}", started_at=BEGAN + timedelta(minutes=number))
            tracker.log_params({"depth": number})
            tracker.log_metrics({"test_rmse": [2.0, 3.0, 1.0][number], "val loss": number / 2})
    assert [run.run_name for run in list_runs(config)] == ["run 2", "run 1", "run 0"]
    by_error = list_runs(config, sort="metrics.test_rmse", limit=2)
    assert [run.run_name for run in by_error] == ["run 2", "run 0"]
    for quoted in ("`val loss`", '"val loss"', "'val loss'"):
        assert list_runs(config, sort=f"metrics.{quoted} DESC", limit=1)[0].run_name == "run 2"
        assert list_runs(config, sort=f"metric.{quoted}", limit=1)[0].run_name == "run 0"
    with pytest.raises(UsageError, match=r"no run has params\.a b"):
        list_runs(config, sort="params.`a b`")
    (found,) = list_runs(config, query="params.depth = '1'")
    assert (found.run_name, found.metrics, found.started_at) == (
        "run 1",
        {"test_rmse": 3.0, "val loss": 0.5},
        BEGAN + timedelta(minutes=1),
    )
    assert find_run(config, found.run_id[:10]) == find_run(config, found.uid) == found
    assert find_run(config, "latest").run_name == "run 2"
    with MLflowTracker(config) as tracker:
        tracker.start_run("trial", started_at=BEGAN + timedelta(days=1))
        tracker.set_tags({PARENT_UID_TAG: found.uid})
    assert list_runs(config)[0].run_name == "trial"
    assert find_run(config, "latest").run_name == "run 2"
    for unknown in ("_" * 10, "%", "'", found.run_id + "0"):
        with pytest.raises(NotFoundError, match="no such run"):
            find_run(config, unknown)
    for wrong in ({"query": "depth ~ 3"}, {"sort": "nonsense"}):
        with pytest.raises(UsageError):
            list_runs(config, **wrong)


def test_sqlite_knows_how_large_its_tables_are(config):
    """A run that ended has left what SQLite plans its searches by."""
    path = sqlite_path(config.tracking_uri)
    if path is None:
        pytest.skip("not SQLite")
    with MLflowTracker(config) as tracker:
        tracker.start_run("run")
        tracker.log_metrics({"test_rmse": 2.0})
    with closing(read_only(path)) as store:
        tables = {table for (table,) in store.execute("SELECT tbl FROM sqlite_stat1")}
    assert {"runs", "latest_metrics"} <= tables


def test_several_begin_one_experiment_at_once(config):
    """Runs that begin a new experiment together all find their place in it."""
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: MLflowTracker(config).start_run(), range(4)))
    assert {run.run_id for run in list_runs(config)} == set(ids)


def test_a_finished_run_is_entered_once_and_whole(uri, finished_project, tmp_path):
    """A run that another store recorded is entered with its own times, values and model, once."""
    project = finished_project.copy(tmp_path / "houses")
    project.set({"tracking.uri": uri, "tracking.experiment": tmp_path.name})
    metadata = project.metadata.model_copy(update={"experiment": tmp_path.name})
    ids = [ensure_entered(MLflowTracker(project.config), metadata, project.config) for _ in range(2)]
    assert len(set(ids)) == 1
    (run,) = project.recorded
    assert run.data.params == metadata.params
    assert run.data.metrics == metadata.metrics
    assert run.info.end_time == int(metadata.ended_at.timestamp() * 1000)
    assert len(run.outputs.model_outputs) == 1
    model = load_model(f"runs:/{ids[0]}", config=project.root)
    rows = pl.read_parquet(project.root / "data/processed/test.parquet").drop("price").to_pandas()
    assert model.predict(rows).tolist() == project.predictions["predicted"].to_list()
    by_uid = load_model(f"runs:/{metadata.uid}", config=project.root)
    assert by_uid.predict(rows).tolist() == model.predict(rows).tolist()


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_digest_registered_twice_at_once(config, fitted, *, is_interrupted, monkeypatch):
    """Of two clones that register one digest at the same instant both get the earlier version.

    The later one is withdrawn by the run that made it, at the latest when that registers again.
    """
    model, _ = fitted
    name = config.tracking.model_name
    trackers = MLflowTracker(config), MLflowTracker(config)
    for tracker in trackers:
        tracker.start_run()
        tracker.log_model(model)
    look, withdraw, are_blind = versions._versions, MlflowClient.delete_model_version, iter([True])

    def looked_before_the_other(*arguments):
        return [] if next(are_blind, False) else look(*arguments)

    def killed_first(*_arguments, **_options):
        monkeypatch.setattr(MlflowClient, "delete_model_version", withdraw)
        raise KeyboardInterrupt

    if is_interrupted:
        monkeypatch.setattr(MlflowClient, "delete_model_version", killed_first)
    assert trackers[0].log_model(model, name) == "1"
    monkeypatch.setattr(versions, "_versions", looked_before_the_other)
    if is_interrupted:
        with pytest.raises(KeyboardInterrupt):
            trackers[1].log_model(model, name)
        assert len(trackers[1]._client.search_model_versions(f"name = '{name}'")) == 2
    assert trackers[1].log_model(model, name) == "1"
    (version,) = trackers[1]._client.search_model_versions(f"name = '{name}'")
    assert (str(version.version), version.run_id) == ("1", trackers[0].run_id)
    for tracker in trackers:
        tracker.end_run()


def test_a_version_that_an_alias_names_is_never_withdrawn(config, fitted):
    """Where two versions of one digest are found, one that somebody promoted meanwhile stays."""
    model, _ = fitted
    name = config.tracking.model_name
    with MLflowTracker(config) as tracker:
        tracker.log_model(model, name)
        client = tracker._client
        first = client.get_model_version(name, "1")
        (logged,) = client.get_run(first.run_id).outputs.model_outputs
        origin = {"run_id": first.run_id, "model_id": logged.model_id}
        client.create_model_version(name, first.source, **origin, tags=first.tags)
        client.set_registered_model_alias(name, "production", "2")
        assert tracker.log_model(model, name) == "1"
        assert len(client.search_model_versions(f"name = '{name}'")) == 2
        client.delete_registered_model_alias(name, "production")
        assert tracker.log_model(model, name) == "1"
        assert len(client.search_model_versions(f"name = '{name}'")) == 1


def test_one_digest_registered_by_a_crowd(config, fitted):
    """Registered by several at once, a digest has one version; a SQLite store leaves no gap behind it."""
    model, table = fitted
    name = config.tracking.model_name

    def register(_number):
        with MLflowTracker(config) as tracker:
            return tracker.log_model(model, name)

    with ThreadPoolExecutor(4) as pool:
        numbers = set(pool.map(register, range(4)))
    assert numbers == {"1"}
    other = Ridge(alpha=7).fit(table, table["a"])
    with MLflowTracker(config) as tracker:
        number = tracker.log_model(other, name)
        found = tracker._client.search_model_versions(f"name = '{name}'")
    assert {str(version.version) for version in found} == {"1", number}
    assert number == "2" or not config.tracking_uri.startswith("sqlite")
