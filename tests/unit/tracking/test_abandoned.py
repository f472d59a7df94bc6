"""Which open runs are closed, and which are somebody else's or still at work."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient

from modelbook.config import Config, load_config
from modelbook.tracking import abandoned
from modelbook.tracking.abandoned import close_abandoned, may_hold_abandoned, process_tags
from modelbook.tracking.store import open_client

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def config(empty_store: Path, tmp_path: Path) -> Config:
    (tmp_path / "logs").mkdir()
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("project: {name: houses}\n")
    shutil.copy(empty_store, tmp_path / "logs/mlflow.db")
    return load_config(tmp_path)


@pytest.fixture
def client(config: Config) -> MlflowClient:
    return open_client(config)


@pytest.fixture(scope="module")
def ended() -> str:
    """Return what the tags of a process said that has ended since."""
    code = "from modelbook.tracking.abandoned import *; print(process_tags(load_config({}))[PROCESS_TAG])"
    words = [sys.executable, "-c", f"from modelbook.config import load_config; {code}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def open_run(client: MlflowClient, config: Config, ended: str):
    """Return a function that opens a run as the ended process would have, but for some tags."""

    def begin(experiment: str = "0", **tags: str) -> str:
        own = process_tags(config) | {"modelbook.process": ended}
        own |= {f"modelbook.{name}": value for name, value in tags.items()}
        said = {name: value for name, value in own.items() if value}
        return client.create_run(experiment, tags=said).info.run_id

    return begin


def status(client: MlflowClient, run_id: str) -> str:
    return client.get_run(run_id).info.status


def test_a_run_whose_process_is_gone(client: MlflowClient, config: Config, open_run):
    """An open run of this project whose process has ended is marked as killed, now."""
    run_id = open_run()
    assert may_hold_abandoned(config)
    assert close_abandoned(client, config, moment=NOW) == (run_id,)
    info = client.get_run(run_id).info
    assert (info.status, info.end_time) == ("KILLED", int(NOW.timestamp() * 1000))
    assert not may_hold_abandoned(config)
    assert close_abandoned(client, config, moment=NOW) == ()


def test_a_run_at_work(client: MlflowClient, config: Config):
    """A run of a process that lives, as this one, is left alone."""
    run_id = client.create_run("0", tags=process_tags(config)).info.run_id
    assert not may_hold_abandoned(config)
    assert close_abandoned(client, config, moment=NOW) == ()
    assert status(client, run_id) == "RUNNING"


def test_a_process_id_that_is_used_again(client: MlflowClient, config: Config, open_run):
    """A process with the id of the former one, started at another time, is another process."""
    run_id = open_run(process=f"{os.getpid()} 1")
    assert may_hold_abandoned(config)
    assert close_abandoned(client, config, moment=NOW) == (run_id,)


@pytest.mark.parametrize(
    "tags",
    [
        {"host": "elsewhere"},
        {"boot": "another boot"},
        {"boot": ""},
        {"project": "1:1"},
        {"project": ""},
        {"process": ""},
        {"process": "none"},
    ],
)
def test_the_runs_of_others(client: MlflowClient, config: Config, *, open_run, tags: dict[str, str]):
    """A run of another machine, boot or project, and one that does not say, is left alone."""
    run_id = open_run(**tags)
    assert not may_hold_abandoned(config)
    assert close_abandoned(client, config, moment=NOW) == ()
    assert status(client, run_id) == "RUNNING"


def test_a_run_of_another_experiment(client: MlflowClient, config: Config, open_run):
    """A run is found wherever it was recorded: the experiment may have been renamed in the settings."""
    run_id = open_run(client.create_experiment("before"))
    assert may_hold_abandoned(config)
    assert close_abandoned(client, config, moment=NOW) == (run_id,)


def test_a_run_that_waits_in_the_outbox(client: MlflowClient, config: Config, open_run):
    """A run of which something waits for delivery is closed by its delivery."""
    run_id = open_run(uid="abc")
    config.path("logs/outbox/abc").mkdir(parents=True)
    config.path("logs/outbox/abc/events.jsonl").write_text("…\n")
    assert not may_hold_abandoned(config)
    assert close_abandoned(client, config, moment=NOW) == ()
    assert status(client, run_id) == "RUNNING"


@pytest.mark.parametrize("ending", ["FINISHED", "FAILED"])
def test_a_run_that_has_ended(client: MlflowClient, config: Config, *, open_run, ending: str):
    """A run that has ended stays as it is."""
    run_id = open_run()
    client.set_terminated(run_id, status=ending)
    assert not may_hold_abandoned(config)
    assert close_abandoned(client, config, moment=NOW) == ()
    assert status(client, run_id) == ending


def test_a_copy_is_another_project_and_a_moved_one_is_the_same(config: Config, tmp_path: Path):
    """A project keeps its mark where its folder is moved; its copy has another."""
    own = process_tags(config)["modelbook.project"]
    copy = shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    assert process_tags(load_config(copy))["modelbook.project"] != own
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert process_tags(load_config(moved))["modelbook.project"] == own


def test_a_zombie_is_gone():
    """A process that ended and whose parent did not notice yet is at work no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert abandoned._process(process.pid) == ""
    process.wait()


def test_a_system_that_does_not_say(
    client: MlflowClient, config: Config, *, open_run, monkeypatch, tmp_path: Path
):
    """Where boot and process cannot be told, a run carries nothing of them and none is closed."""
    run_id = open_run()
    monkeypatch.setattr(abandoned, "_PROC", tmp_path / "nothing")
    assert process_tags(config) == {}
    assert not may_hold_abandoned(config)
    assert close_abandoned(client, config, moment=NOW) == ()
    assert status(client, run_id) == "RUNNING"
