"""Settings that are wrong, settings that are written, and a project that is busy."""

import os
import subprocess
import sys
import time

import orjson
import pytest

from modelbook.pipeline.lock import hold_project

TREES = "model.hyperparameters.random_forest.n_estimators"


def test_three_mistakes_are_named_at_once(project, modelbook):
    """A config with three mistakes exits 2 and names each with its path; nothing runs."""
    path = project.root / "config/config.yaml"
    text = (
        path.read_text().replace("test_size: 0.2", "test_size: 2").replace("seed: 42 # of every", "sed: 1 #")
    )
    path.write_text(text.replace("algorithm: random_forest", "algorithm: 7"))
    answer = modelbook("-C", project.root, "--json", "run")
    assert answer.code == 2
    said = orjson.loads(answer.stdout)["error"]
    assert said["what"] == "the configuration has 3 mistakes"
    for place in ("split.test_size", "training.sed", "model.algorithm"):
        assert place in said["got"]
        assert f"  - {place}: " in answer.stderr
    assert len(list((project.root / "logs").glob("ingest_*.log"))) == 1


@pytest.mark.parametrize("driver", ["run", "dvc"])
def test_a_mistake_is_said_by_every_driver(fresh, driver):
    """`run` and `dvc repro` both stop at a mistake with its path."""
    fresh.set({"training.cv_folds": "2"})
    path = fresh.root / "config/config.yaml"
    path.write_text(path.read_text().replace("cv_folds: 2", "cv_folds: 1"))
    done = fresh.modelbook("run") if driver == "run" else fresh.call("dvc", "repro")
    assert done.returncode != 0
    assert "training: cv_folds 1 is no cross-validation" in done.stderr


@pytest.mark.parametrize(
    "assignment",
    ["training.seeed=7", "training.seed=often", "nonsense", "=7", "split.test_size=7", "training.seed=[1"],
)
def test_a_setting_that_is_not_accepted_changes_nothing(finished_project, modelbook, assignment):
    """`--set` of an unknown key, a wrong value or no pair exits 2, and the file is as it was."""
    path = finished_project.root / "config/config.yaml"
    before = path.read_bytes()
    answer = modelbook("-C", finished_project.root, "run", "--set", assignment)
    assert answer.code == 2
    assert assignment.partition("=")[0] in answer.stderr
    assert path.read_bytes() == before


def test_set_changes_its_line_and_nothing_else(project, modelbook):
    """`--set` writes the value, keeps every other line with its comment, and says what it changed."""
    path = project.root / "config/config.yaml"
    before = path.read_text().splitlines()
    answer = modelbook("-C", project.root, "run", "--set", f"{TREES}=6")
    assert answer.code == 0
    assert f"{TREES}: 5 → 6" in answer.stderr
    after = path.read_text().splitlines()
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [
        ("      n_estimators: 5", "      n_estimators: 6")
    ]


def test_a_folder_that_is_no_project(tmp_path, modelbook):
    """Outside a project a run exits 5, with --set too, and says what to do."""
    for words in (["run"], ["run", "--set", "training.seed=7"], ["run", "--no-dvc"]):
        answer = modelbook("-C", tmp_path, *words)
        assert answer.code == 5
        assert "modelbook init" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_project_without_dvc(project, modelbook):
    """Without .dvc a run says to use --no-dvc, which works."""
    (project.root / ".dvc").rename(project.root / "put-aside")
    answer = modelbook("-C", project.root, "run")
    assert answer.code == 2
    assert "--no-dvc" in answer.stderr
    assert modelbook("-C", project.root, "run", "--no-dvc").code == 0


def test_a_project_without_git(fresh, modelbook):
    """Without a git repository --no-dvc runs, and the run carries no commit."""
    (fresh.root / ".git").rename(fresh.root.parent / "put-aside")
    assert modelbook("-C", fresh.root, "run", "--no-dvc").code == 0
    tags = fresh.recorded[0].data.tags
    assert "mlflow.source.git.commit" not in tags
    assert tags["modelbook.git.dirty"] == "false"


def test_a_busy_project_exits_9(finished_project, tmp_path, modelbook):
    """While another run holds the project, a second one exits 9 and names process and command."""
    project = finished_project.copy(tmp_path / "houses")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(project.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        answer = modelbook("-C", project.root, "run")
        assert answer.code == 9
        assert f"pid {holder.pid}: modelbook run --force" in answer.stderr
        assert "--wait" in answer.stderr
    finally:
        holder.communicate(b"\n")


def test_wait_waits(project):
    """With --wait a second run begins when the first is done."""
    with hold_project(project.config, command="modelbook run"):
        waiting = subprocess.Popen(
            [sys.executable, "-m", "modelbook", "run", "--wait"],
            cwd=project.root,
            env=os.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(2)
        assert waiting.poll() is None
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert f"pid {os.getpid()}: modelbook run" in said


HOLDER = """
import sys
from modelbook.config import load_config
from modelbook.pipeline.lock import hold_project

with hold_project(load_config(sys.argv[1]), command="modelbook run --force"):
    print("held", flush=True)
    sys.stdin.readline()
"""
