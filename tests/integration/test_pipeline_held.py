"""A project that another run, or DVC by itself, is at work in, and settings that change meanwhile."""

import logging
import subprocess
import sys
import time

import orjson
import pytest

from modelbook.config import set_values
from modelbook.errors import ConfigError, ProjectBusyError
from modelbook.pipeline import stages
from modelbook.pipeline.lock import hold_project

SEED = "split.seed"


def test_settings_are_not_written_under_another_run(fresh):
    """A run that finds the project held leaves the settings that the other one reads as they are."""
    before = (fresh.root / "config/config.yaml").read_bytes()
    with hold_project(fresh.config, command="modelbook run"), pytest.raises(ProjectBusyError):
        fresh.run(settings={SEED: "7"})
    assert (fresh.root / "config/config.yaml").read_bytes() == before


@pytest.fixture
def meddling(fresh, monkeypatch):
    """Return a project whose settings change while its first stage runs."""
    original = stages.STAGES["ingest"]

    def ingest(config, log):
        original(config, log)
        set_values(fresh.root / "config/config.yaml", {"data.min_rows": "21"})

    monkeypatch.setattr(stages, "STAGES", {**stages.STAGES, "ingest": ingest})
    return fresh


def test_settings_that_change_during_a_stage(meddling):
    """The stage fails, so that nothing made with the old settings is noted down as made with the new."""
    with pytest.raises(ConfigError, match="the settings changed while stage ingest ran") as caught:
        meddling.run()
    assert caught.value.where == str(meddling.root / "config/config.yaml")
    assert not (meddling.root / "dvc.lock").exists()


def test_settings_that_change_without_dvc(meddling):
    """Without DVC nothing is noted down, and the run keeps to the settings that it began with."""
    meddling.run(use_dvc=False)
    assert meddling.metadata.lineage.config["data"]["min_rows"] == 20


SLOW = """
  slow:
    cmd: touch begun && sleep 3 && touch slow
    deps: [features.py]
    outs: [{slow: {cache: false}}]
"""


@pytest.fixture
def dvc_at_work(project):
    """Return a project in which `dvc repro` runs a stage for seconds, and that process."""
    path = project.root / "dvc.yaml"
    path.write_text(path.read_text().replace("\nstages:\n", f"\nstages:{SLOW}", 1))
    with subprocess.Popen(["dvc", "repro", "--quiet", "slow"], cwd=project.root) as process:
        while not (project.root / "begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield project, process


def test_dvc_at_work_is_a_run(dvc_at_work):
    """While `dvc repro` runs a stage the project is busy, with DVC as without, and nothing is touched."""
    project, process = dvc_at_work
    for use_dvc in (True, False):
        with pytest.raises(ProjectBusyError) as caught:
            project.run(settings={SEED: "7"}, use_dvc=use_dvc)
        assert caught.value.got.startswith(f"pid {process.pid}: ")
        assert caught.value.got.endswith("dvc repro --quiet slow")
        assert project.config.split.seed != 7
    assert process.poll() is None


def test_waiting_for_dvc(dvc_at_work, caplog, monkeypatch):
    """With `--wait` the run begins once DVC is done, and DVC's own work comes to its end."""
    project, process = dvc_at_work
    monkeypatch.setattr(logging.getLogger("modelbook"), "propagate", True)
    caplog.set_level(logging.INFO)
    assert project.run(use_dvc=False, is_waiting=True).gate.passed
    assert f"waiting for DVC, which is at work in the project: pid {process.pid}: " in caplog.text
    assert process.wait(5) == 0
    assert (project.root / "slow").exists()


def test_dvc_is_kept_out(project, monkeypatch):
    """While a run without DVC is at work, `dvc repro` is told so and writes nothing."""
    original = stages.STAGES["ingest"]
    done = []

    def ingest(config, log):
        done.append(project.call("dvc", "repro", "--force"))
        original(config, log)

    monkeypatch.setattr(stages, "STAGES", {**stages.STAGES, "ingest": ingest})
    project.run(use_dvc=False)
    assert done[0].returncode != 0
    assert "Unable to acquire lock" in done[0].stderr
    assert len(project.recorded) == 2


def test_dvc_takes_its_lock_between(project):
    """A lock that DVC itself does not get, as while another DVC looks at its stages, is busy too."""
    from dvc.repo import Repo

    from modelbook.pipeline.workspace import track

    with Repo(str(project.root)) as repo, repo.lock:
        with pytest.raises(ProjectBusyError) as caught:
            track(project.root, project.root / "data/raw/houses.csv")
        assert "Unable to acquire lock" in caught.value.got


def test_a_killed_dvc_holds_nothing(project):
    """What a killed DVC noted of its use of files keeps nobody out."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    notes = {"write": {str(project.root / "models"): {"pid": gone.pid, "cmd": "dvc repro"}}, "read": {}}
    (project.root / ".dvc/tmp/rwlock").write_bytes(orjson.dumps(notes))
    assert project.run(use_dvc=False).gate.passed
    assert project.run().gate.passed
