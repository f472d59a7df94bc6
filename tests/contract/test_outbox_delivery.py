"""What goes through the outbox ends in a store as if it had been recorded there directly."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from modelbook.config import load_config
from modelbook.errors import ModelbookError, StoreAwayError
from modelbook.files import file_hash
from modelbook.pipeline.syncing import sync
from modelbook.records import DataVersion
from modelbook.tracking import channel
from modelbook.tracking import tracker as tracker_module
from modelbook.tracking.delivery import deliver
from modelbook.tracking.events import RunStarted
from modelbook.tracking.outbox import waiting
from modelbook.tracking.runs import find_run, list_runs
from modelbook.tracking.tracker import MLflowTracker
from modelbook.tracking.writer import StoreWriter, open_writer

BEGAN = datetime(2026, 11, 21, 9, 5, 7, 123000, tzinfo=UTC)
OWN_TAGS = {
    f"modelbook.{name}" for name in ("uid", "project", "config_sha256", "model_sha256", "record_sha256")
}
BY_NATURE = {"skip_tags": OWN_TAGS | {"mlflow.modelVersions"}, "skip_files": {"config.yaml"}}


@pytest.fixture(params=["sqlite", "http"])
def uri(request, empty_store, tmp_path):
    """Return the address of a store of each kind."""
    if request.param == "http":
        return request.getfixturevalue("mlflow_server")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def config_of(uri, tmp_path, monkeypatch):
    """Return a function that gives settings of an experiment and a model of the test's own."""
    monkeypatch.chdir(tmp_path)

    def make(name):
        own = f"{tmp_path.name}-{name}"
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        tracking = {"uri": uri, "experiment": own, "model_name": own}
        return load_config({"tracking": tracking, "data": {"target": "price"}})

    return make


class Breaking:
    """MLflow's client, which breaks down before or after a call of a given number."""

    def __init__(self, client, number, *, is_after):
        self.client, self.left, self.is_after = client, number, is_after

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*arguments, **options):
            self.left -= 1
            if self.left < 0 and not (self.left == -1 and self.is_after):
                raise ConnectionError("the server died")
            answer = method(*arguments, **options)
            if self.left < 0:
                raise ConnectionError("the server died")
            return answer

        return call


def record(tracker, folder, *, end="FINISHED"):
    """Record everything that a run can hold."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=40), "b": random.normal(size=40)})
    (folder / "note.txt").write_text("größer\n")
    (folder / "empty.bin").write_bytes(b"")
    tracker.start_run("ridge_1", started_at=BEGAN)
    tracker.log_params({f"p{number}": number for number in range(120)} | {"long": "x" * 9000})
    for step in range(3):
        moment = BEGAN + timedelta(seconds=step)
        tracker.log_metrics({"loss": 1 / (step + 1), "odd": float("nan")}, step=step, moment=moment)
    tracker.log_metrics({"above": float("inf")}, moment=BEGAN)
    tracker.set_tags({"stage": "a", "note": "größer"})
    tracker.log_inputs([DataVersion(path="data/raw/a.csv", md5="d" * 32, size_bytes=7, rows=3)])
    tracker.log_artifact(folder / "note.txt", "notes/deep")
    tracker.log_artifact(folder / "empty.bin")
    tracker.set_tags({"stage": "b"})
    number = tracker.log_model(Ridge().fit(table, table["a"]), tracker.config.tracking.model_name)
    tracker.end_run(end, ended_at=BEGAN + timedelta(minutes=1))
    return number


@pytest.fixture
def direct(config_of, picture, tmp_path):
    """Return what a run recorded directly comes to."""
    config = config_of("direct")
    assert record(MLflowTracker(config, clock=lambda: BEGAN), tmp_path) == "1"
    assert not waiting(config)
    return picture(config, **BY_NATURE)


def test_delivered_is_as_good_as_recorded(config_of, direct, *, picture, tmp_path):
    """A run recorded offline and delivered equals one recorded directly; delivering again adds nothing."""
    config = config_of("offline")
    tracker = MLflowTracker(config, clock=lambda: BEGAN, is_offline=True)
    assert record(tracker, tmp_path) is None
    assert tracker.run_id == tracker.uid
    (outbox,) = waiting(config)
    writer = open_writer(config)
    with outbox.held():
        deliver(outbox, writer)
    assert picture(config, **BY_NATURE) == direct
    report, error = sync(config)
    assert error is None
    assert [version.version for version in report.delivered[0].versions] == ["1"]
    assert picture(config, **BY_NATURE) == direct
    assert sync(config).report.delivered == ()
    assert find_run(config, tracker.uid[:12]).uid == tracker.uid


CALLS = 40  # more than a run of `record` makes


def quick_or_all(numbers, every):
    """Return numbers of calls as parameters, all but a few of them for the slow tests."""
    return [pytest.param(number, marks=() if number % every == 0 else pytest.mark.slow) for number in numbers]


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", quick_or_all(range(CALLS), 9))
def test_a_store_lost_at_any_call(config_of, direct, *, picture, tmp_path, number, is_after):
    """Whichever call the store dies in, before or after doing it, the run is whole once delivered."""
    config = config_of("lost")

    def breaking(*arguments, **options):
        writer = open_writer(*arguments, **options)
        return StoreWriter(Breaking(writer.client, number, is_after=is_after), config)

    with patch.object(channel, "open_writer", breaking), patch.object(channel, "sqlite_path", lambda _: None):
        record(MLflowTracker(config, clock=lambda: BEGAN), tmp_path)
    for _ in range(2):
        assert sync(config).error is None
        assert picture(config, **BY_NATURE) == direct


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", quick_or_all(range(CALLS), 9))
def test_a_delivery_broken_off_at_any_call(config_of, direct, *, picture, tmp_path, number, is_after):
    """Whichever call a delivery breaks off at, doing it again makes the run whole, once."""
    config = config_of("broken")
    record(MLflowTracker(config, clock=lambda: BEGAN, is_offline=True), tmp_path)
    (outbox,) = waiting(config)
    try:
        deliver(outbox, StoreWriter(Breaking(open_writer(config).client, number, is_after=is_after), config))
    except StoreAwayError:
        assert waiting(config)
    for _ in range(2):
        assert sync(config).error is None
        assert picture(config, **BY_NATURE) == direct


def test_names_that_mlflow_refuses_are_delivered(config_of, picture):
    """An outbox with names that MLflow takes for no key is delivered; it used to be refused for ever."""
    config = config_of("odd")
    tracker = MLflowTracker(config, is_offline=True)
    odd = {"modelbook.data.orders (1).csv": "0"}
    place = config.tracking.experiment
    tracker.resume_run(RunStarted(uid=tracker.uid, experiment=place, name="odd", started_at=BEGAN, tags=odd))
    tracker.log_params({"features.left_out.Ticket #": "an id"})
    tracker.end_run()
    assert sync(config).error is None
    (run,) = picture(config)["runs"]
    assert (run["status"], run["params"]) == ("FINISHED", {"features.left_out.Ticket _x23_": "an id"})
    assert run["tags"]["modelbook.data.orders _x28_1_x29_.csv"] == "0"


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_how_an_offline_run_ended(config_of, picture, *, tmp_path, status):
    """A run that failed or was stopped offline is delivered as such."""
    config = config_of("ended")
    record(MLflowTracker(config, is_offline=True), tmp_path, end=status)
    (run,) = list_runs(config)
    assert (run.status, run.recorded) == (status, "outbox")
    assert sync(config).report.delivered[0].status == status
    assert picture(config)["runs"][0]["status"] == status


def test_a_short_list_shows_whole_runs(config_of):
    """A run that waits for its end is listed with what the store has of it, however few are asked for."""
    config = config_of("short")
    first = MLflowTracker(config)
    first.start_run("first", started_at=BEGAN)
    first.log_metrics({"rmse": 1.0})
    first.leave_run()
    with MLflowTracker(config) as newer:
        newer.start_run("newer", started_at=BEGAN + timedelta(minutes=1))
    rest = MLflowTracker(config, is_offline=True)
    place = config.tracking.experiment
    ids = {"uid": first.uid, "run_id": first.run_id}
    rest.resume_run(RunStarted(**ids, experiment=place, name="first", started_at=BEGAN, tags={}))
    rest.log_metrics({"mae": 2.0})
    rest.leave_run()
    (run,) = (run for run in list_runs(config, sort="metrics.mae", limit=1))
    assert (run.uid, run.metrics, run.recorded) == (first.uid, {"rmse": 1.0, "mae": 2.0}, "outbox")


def test_a_killed_process(config_of, picture):
    """A run whose process was killed offline is delivered as KILLED, as far as it came."""
    config = config_of("killed")
    tracker = MLflowTracker(config, is_offline=True)
    tracker.start_run()
    tracker.log_metrics({"rmse": 1.0})
    assert sync(config).report.waiting[0].why == "a process is still writing it"
    tracker.leave_run()  # as the lock of a dead process is free
    assert sync(config).report.delivered[0].status == "KILLED"
    (run,) = picture(config)["runs"]
    assert run["history"]["rmse"][0][2] == "1.0"


def test_a_file_that_grows_while_it_is_logged(config_of, tmp_path):
    """A file that grows between its hash and its copy keeps nothing from being delivered."""
    config, log = config_of("growing"), tmp_path / "train.log"
    log.write_text("epoch 1\n")
    tracker = MLflowTracker(config, is_offline=True)
    tracker.start_run()

    def hash_and_grow(path):
        before = file_hash(path)
        log.write_text("epoch 1\nepoch 2\n")
        return before

    with patch.object(tracker_module, "file_hash", hash_and_grow):
        tracker.log_artifact(log)
    tracker.end_run()
    synced = sync(config)
    assert synced.error is None
    run_id = synced.report.delivered[0].run_id
    path = open_writer(config).client.download_artifacts(run_id, log.name)
    assert Path(path).read_text() == "epoch 1\nepoch 2\n"


def test_a_damaged_outbox_stops_no_other(config_of, picture, tmp_path):
    """What is damaged is named and stays; what is sound is delivered all the same."""
    config = config_of("damaged")
    for _ in range(2):
        record(MLflowTracker(config, is_offline=True), tmp_path)
    first, second = waiting(config)
    model = max((first.folder / "files").iterdir(), key=lambda path: path.stat().st_size)
    content = model.read_bytes()
    model.unlink()
    report, error = sync(config)
    assert [run.uid for run in report.delivered] == [second.uid]
    assert [run.uid for run in report.waiting] == [first.uid]
    assert "damaged or missing" in str(error)
    assert isinstance(error, ModelbookError)
    model.write_bytes(content)
    assert [run.uid for run in sync(config).report.delivered] == [first.uid]
    assert len(picture(config)["runs"]) == 2


def recorded_midway(config, folder, number):
    """Record a run, notebook fashion, whose store dies at the call of a number; return the tracker."""

    def breaking(*arguments, **options):
        writer = open_writer(*arguments, **options)
        return StoreWriter(Breaking(writer.client, number, is_after=False), config)

    with patch.object(channel, "open_writer", breaking), patch.object(channel, "sqlite_path", lambda _: None):
        tracker = MLflowTracker(config, clock=lambda: BEGAN)
        record(tracker, folder)
    return tracker


@pytest.mark.parametrize("number", quick_or_all(range(9, CALLS - 1, 3), 12))
def test_a_run_whose_beginning_is_lost(config_of, picture, *, empty_store, tmp_path, number):
    """Delivered to a store that does not hold its beginning, a run is FAILED there, tagged and said so.

    Back in the store that it began in, it is as whole as ever: doing either twice changes nothing.
    """
    config = config_of("begun")
    tracker = recorded_midway(config, tmp_path, number)
    (outbox,) = waiting(config)
    kept = shutil.copytree(outbox.folder, tmp_path / "kept")
    other = elsewhere(config, empty_store)
    for _ in range(2):
        writer = open_writer(other)
        with outbox.held():
            delivered = deliver(outbox, writer)
        assert (delivered.status, delivered.run_id == tracker.run_id) == ("FAILED", False)
        assert tracker.run_id in delivered.incomplete
        (run,) = picture(other)["runs"]
        assert (run["status"], run["tags"]["modelbook.incomplete"]) == ("FAILED", delivered.incomplete)
    report, error = sync(other)
    assert (error, report.delivered[0].incomplete) == (None, delivered.incomplete)
    assert waiting(config) == []
    shutil.copytree(kept, outbox.folder)
    report, error = sync(config)
    assert (error, report.delivered[0].incomplete, report.delivered[0].status) == (None, None, "FINISHED")
    assert "modelbook.incomplete" not in picture(config)["runs"][0]["tags"]


def elsewhere(config, empty_store):
    """Return the same settings with another, empty store."""
    other = config.path("other.db")
    shutil.copy(empty_store, other)
    tracking = config.tracking.model_copy(update={"uri": f"sqlite:///{other}"})
    return config.model_copy(update={"tracking": tracking})


def test_a_run_that_began_offline_is_whole_anywhere(config_of, direct, *, picture, empty_store, tmp_path):
    """A run of which no store was told anything yet is delivered whole to whatever store there is then."""
    config = config_of("anywhere")
    tracker = recorded_midway(config, tmp_path, 2)
    assert tracker.run_id == tracker.uid
    other = elsewhere(config, empty_store)
    report, error = sync(other)
    assert (error, report.delivered[0].incomplete) == (None, None)
    assert picture(other, **BY_NATURE)["runs"] == direct["runs"]
