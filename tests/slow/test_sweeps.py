"""A sweep that is killed at any moment, and gone on with: no trial is lost, none is made twice."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from optuna import load_study

pytestmark = pytest.mark.slow

TRIALS = 40
KILLS = 10
SEED = 20261122
LONGEST_S = 3.0
AT_THE_START = 2
BEGINS = "judged by"
GONE_WITHIN_S = 5
MARK = "MODELBOOK_TEST_MARK"
SPACE = """
model.hyperparameters.random_forest.n_estimators: {low: 10, high: 60}
model.hyperparameters.random_forest.max_features: {low: 0.1, high: 1.0}
model.hyperparameters.random_forest.min_samples_leaf: {low: 1, high: 40, log: true}
"""
COMMAND = (
    *(sys.executable, "-m", "modelbook", "--json", "sweep"),
    *("--trials", str(TRIALS), "--space", "logs/space.yaml"),
)


def alive(mark):
    """Return the command lines of the processes that carry a mark, whatever session they are in."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended meanwhile, or is not ours
            continue
    return found


def killed_after(project, seconds, *, begun):
    """Kill a sweep so long after its start, or after it began with its trials; nothing of it may go on."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        COMMAND,
        cwd=project.root,
        env=os.environ | {MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while begun and BEGINS not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.stderr.close()
    process.wait()
    deadline = time.monotonic() + GONE_WITHIN_S
    while (left := alive(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, "processes of a killed sweep go on"
    return process.returncode == -signal.SIGKILL


def test_forty_trials_killed_ten_times_are_forty_trials(small, tmp_path, say):
    """They have forty numbers and forty settings, in the study and in MLflow, each with one finished run."""
    say(f"seed {SEED}")
    moments = np.random.default_rng(SEED)
    project = small.copy(tmp_path / "houses")
    project.set({"training.cv_folds": "2"})
    project.write("logs/space.yaml", SPACE)
    kills = sum(
        killed_after(project, moments.uniform(0, LONGEST_S), begun=number >= AT_THE_START)
        for number in range(KILLS)
    )
    done = project.call(*COMMAND, timeout_s=600)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    say(f"{kills} kills, {len(outcome['trials'])} trials")
    assert kills == KILLS

    assert [trial["number"] for trial in outcome["trials"]] == list(range(TRIALS))
    assert len({json.dumps(trial["settings"], sort_keys=True) for trial in outcome["trials"]}) == TRIALS
    assert not [trial["error"] for trial in outcome["trials"] if trial["error"]]
    study = load_study(
        study_name="sweep", storage=f"sqlite:///{next(project.root.glob('logs/sweeps/*/study.db'))}"
    )
    assert [trial.number for trial in study.trials if trial.state.is_finished()] == list(range(TRIALS))

    children = [
        run for run in project.recorded if run.data.tags.get("mlflow.parentRunId") == outcome["run_id"]
    ]
    numbers = Counter(int(run.data.tags["modelbook.trial"]) for run in children)
    assert numbers == Counter(range(TRIALS))
    assert {run.info.status for run in project.recorded if "modelbook.sweep" in run.data.tags} == {"FINISHED"}
    assert {run.info.run_id for run in children} == {trial["run_id"] for trial in outcome["trials"]}
