"""A run that is interrupted, terminated, or fails in the user's own code."""

import os
import signal
import subprocess
import sys
import time

import orjson
import pytest

from modelbook.tracking.abandoned import PROCESS_TAG, process_tags

OWN = '''
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class Slow(RegressorMixin, BaseEstimator):
    """Takes a minute to fit, unless a file `quick` lies in the project."""

    def fit(self, X, y):
        print("fitting slowly")
        if not Path("quick").exists():
            Path("fitting").touch()
            time.sleep(60)
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


class Broken(RegressorMixin, BaseEstimator):
    """Fails to fit."""

    def fit(self, X, y):
        raise RuntimeError("out of luck")

    def predict(self, X):
        return X
'''
RUN = (sys.executable, "-m", "modelbook", "run")


@pytest.fixture(scope="module")
def slow_project(finished_project, tmp_path_factory):
    """A project with a first run of the random forest, whose next model takes a minute to fit."""
    project = finished_project.copy(tmp_path_factory.mktemp("slow") / "houses")
    project.write("features.py", OWN)
    project.write(".gitignore", (project.root / ".gitignore").read_text() + "quick\nfitting\n")
    project.set({"model.algorithm": "Slow", "model.hyperparameters.Slow": "{}"})
    project.commit()
    return project


@pytest.fixture
def slow(slow_project, tmp_path):
    return slow_project.copy(tmp_path / "houses")


def stop_in_fit(project, command, number, *, kill=os.killpg):
    """Start a command, send its process group a signal once it fits, and return exit code and stderr.

    They are returned when nobody holds stderr any more: not the command, nor what it started.
    """
    process = subprocess.Popen(
        command,
        cwd=project.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (project.root / "fitting").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(process.communicate()[1])
        time.sleep(0.1)
    kill(process.pid, number)
    _, said = process.communicate(timeout=30)
    return process.returncode, said


def stopped_and_usable(project):
    """Assert that the stopped run is on record as KILLED, and that the next one succeeds."""
    first, stopped = project.recorded
    assert (first.info.status, stopped.info.status) == ("FINISHED", "KILLED")
    assert stopped.data.params == stopped.data.metrics == {}
    assert len(project.registry) == 1
    project.write("quick", "")
    outcome = project.run()
    assert (outcome.gate.passed, outcome.recorded, outcome.model.version) == (True, "mlflow", "2")
    assert [run.info.status for run in project.recorded] == ["FINISHED", "KILLED", "FINISHED"]
    assert {stage.status for stage in project.run().stages} == {"cached"}


@pytest.mark.parametrize("options", [(), ("--no-dvc",)], ids=["dvc", "no-dvc"])
def test_ctrl_c_stops_run(slow, options):
    """Ctrl-C in the fit exits 130 with a word, leaves a KILLED run, and the next run succeeds."""
    code, said = stop_in_fit(slow, (*RUN, *options), signal.SIGINT)
    assert code == 130
    assert "interrupted: nothing is half written" in said
    assert "Traceback" not in said
    stopped_and_usable(slow)


def test_ctrl_c_stops_dvc_repro(slow):
    """Ctrl-C during `dvc repro` leaves a KILLED run, and the next run succeeds."""
    code, said = stop_in_fit(slow, ("dvc", "repro"), signal.SIGINT)
    assert code != 0
    assert "interrupted: nothing is half written" in said
    assert "Traceback" not in said
    stopped_and_usable(slow)


def test_termination_stops_run(slow):
    """SIGTERM in the fit exits 143, leaves a KILLED run, and the next run succeeds."""
    code, said = stop_in_fit(slow, RUN, signal.SIGTERM)
    assert code == 143
    assert "terminated" in said
    assert "Traceback" not in said
    stopped_and_usable(slow)


def test_a_killed_process_leaves_no_lock_and_no_open_run(slow):
    """After kill -9 in the fit the next run succeeds, and closes what was left open."""
    code, _ = stop_in_fit(slow, RUN, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert [run.info.status for run in slow.recorded] == ["FINISHED", "RUNNING"]
    slow.write("quick", "")
    outcome = slow.run()
    assert outcome.model.version == "2"
    assert [run.info.status for run in slow.recorded] == ["FINISHED", "KILLED", "FINISHED"]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_a_run_left_open_is_closed_by_one_without_work(project):
    """A command that finds everything done marks it too, by asking the database alone."""
    tags = process_tags(project.config) | {PROCESS_TAG: "1 0"}  # process 1 began at another time
    experiment = project.recorded[0].info.experiment_id
    left = project.client.create_run(experiment, tags=tags).info.run_id
    outcome = project.run()
    assert {stage.status for stage in outcome.stages} == {"cached"}
    assert project.client.get_run(left).info.status == "KILLED"


def test_a_killed_dvc_repro_leaves_no_stage_at_work(slow):
    """With `dvc repro` killed, the stage that it started ends too and closes its run as KILLED."""
    code, said = stop_in_fit(slow, ("dvc", "repro"), signal.SIGKILL, kill=os.kill)
    assert code == -signal.SIGKILL
    assert "terminated: nothing is half written" in said
    stopped_and_usable(slow)


@pytest.mark.parametrize("options", [(), ("--no-dvc",)], ids=["dvc", "no-dvc"])
def test_code_that_fails_in_fit(slow, modelbook, options):
    """An exception of the user's own code exits 2 with file and line, no traceback; the run is FAILED."""
    slow.set({"model.algorithm": "Broken", "model.hyperparameters.Broken": "{}"})
    answer = modelbook("-C", slow.root, "run", *options)
    line = OWN.splitlines().index('        raise RuntimeError("out of luck")') + 1
    assert answer.code == 2
    assert f"features.py:{line}" in answer.stderr
    assert "RuntimeError" in answer.stderr
    assert "Traceback" not in answer.stderr
    _, failed = slow.recorded
    assert failed.info.status == "FAILED"
    artifacts = {entry.path for entry in slow.client.list_artifacts(failed.info.run_id)}
    assert {"config.yaml", "environment.lock", "uncommitted.patch"} <= artifacts
    slow.set({"model.algorithm": "random_forest"})
    assert slow.run().recorded == "mlflow"


def test_what_the_users_code_prints_is_no_result(slow, modelbook):
    """Standard output holds one JSON document, whatever the user's own code prints."""
    slow.write("quick", "")
    answer = modelbook("-C", slow.root, "--json", "run")
    assert answer.code == 0
    assert orjson.loads(answer.stdout)["model"]["version"] == "2"
    assert "fitting slowly" in answer.stderr


def test_debug_shows_the_traceback(slow, modelbook):
    """With --debug the traceback of the user's own code is there."""
    slow.set({"model.algorithm": "Broken", "model.hyperparameters.Broken": "{}"})
    answer = modelbook("-C", slow.root, "--debug", "run", "--no-dvc")
    assert answer.code == 2
    assert "Traceback" in answer.stderr
    assert "out of luck" in answer.stderr


@pytest.mark.parametrize(
    ("path", "content"),
    [(".dvc/tmp/rwlock", ""), (".dvc/tmp/rwlock", '{"write": {"models'), ("dvc.lock", "")],
)
def test_a_lock_of_dvc_that_was_cut_off(project, *, path, content):
    """A process killed while DVC noted down who uses what, or what it did, stops no later run."""
    project.set({"model.hyperparameters.random_forest.n_estimators": "6"})
    project.write(path, content)
    assert project.run().model.version == "2"
