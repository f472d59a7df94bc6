"""A recorded run made again: what it takes, what it leaves alone, what it says of what was changed."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import orjson
import polars as pl
import pytest

from modelbook.config import load_config
from modelbook.errors import NotFoundError, NotReproducedError
from modelbook.logs import PipelineLogger
from modelbook.pipeline.recorded import find_recorded
from modelbook.pipeline.reproduction.reproduce import reproduce_run
from modelbook.pipeline.reproduction.verdict import Verdict, compare_outcomes, judge_outcomes

FEATURES = """
from sklearn.base import BaseEstimator, TransformerMixin


class Doubled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.assign(double=X["area"] * 2)
"""
LOG = PipelineLogger("test")


def snapshot(root):
    """Return the hash of every file of a project, git's and DVC's own among them, but for its logs."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "logs" not in path.relative_to(root).parts[:1]
    }


def cached(project, path="data/raw/houses.csv"):
    """Return the file of DVC's cache that holds a data file as a run used it."""
    md5 = next(version.md5 for version in project.metadata.lineage.data if version.path == path)
    return project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


@pytest.fixture(scope="module")
def changed(finished_project, tmp_path_factory):
    """Return a project whose last run had code, untracked too, and settings that were not committed."""
    project = finished_project.copy(tmp_path_factory.mktemp("changed") / "houses")
    project.write("features.py", FEATURES)
    project.write("notes.md", "untracked\n")
    project.set({"features.custom": "Doubled", "model.hyperparameters.random_forest.max_depth": "4"})
    project.run()
    return project


@pytest.fixture(scope="module")
def reproduced(changed):
    """Return what reproducing that run printed, and the project's files before and after."""
    before = snapshot(changed.root)
    done = changed.modelbook("--json", "reproduce", "latest")
    return done, before, snapshot(changed.root)


def test_uncommitted_code_and_settings(changed, reproduced):
    """A run with uncommitted code and settings is made again, identical, and the answer is the contract's."""
    done, _, _ = reproduced
    assert done.returncode == 0, done.stderr
    answer = orjson.loads(done.stdout)
    assert answer["verdict"] == "identical"
    assert answer["causes"] == []
    assert answer["run_id"] == changed.metadata.run_id
    assert all(check["equal"] for check in answer["checks"])
    names = [check["name"] for check in answer["checks"]]
    assert names[:5] == [*(version.path for version in changed.metadata.lineage.data), "config", "code"]
    assert {"test_rmse", "train_rmse", "predictions", "model digest"} <= set(names)


def test_the_project_is_left_alone(changed, reproduced):
    """Work tree, index, branch, outputs and registry are those of before; git has no further worktree."""
    _, before, after = reproduced
    assert after == before
    assert len(changed.git("worktree", "list").splitlines()) == 1
    assert not (changed.root / ".git/worktrees").exists()
    assert changed.versions == [1, 2]


def test_the_new_run_is_on_record(changed, reproduced):
    """The new run is in the same experiment, whole, and names the run that it makes again."""
    answer = orjson.loads(reproduced[0].stdout)
    old, new = (changed.client.get_run(answer[key]) for key in ("run_id", "reproduced_run_id"))
    assert new.info.experiment_id == old.info.experiment_id
    assert new.info.status == "FINISHED"
    assert new.data.params == old.data.params
    assert new.data.metrics == old.data.metrics
    tags = new.data.tags
    assert tags["modelbook.reproduces"] == answer["run_id"]
    assert tags["modelbook.reproduces.uid"] == changed.metadata.uid
    assert tags["modelbook.reproduction"] == "identical"
    for name in ("config_sha256", "git.dirty", "git.patch_sha256", "threads"):
        assert tags[f"modelbook.{name}"] == old.data.tags[f"modelbook.{name}"]
    held = {entry.path for entry in changed.client.list_artifacts(new.info.run_id)}
    assert {"metadata.json", "report.html", "reproduction.json", "test_predictions.parquet"} <= held
    assert (changed.root / "logs/runs" / tags["modelbook.uid"] / "metadata.json").is_file()


def test_the_stages_are_logged_in_the_project(changed, reproduced):
    """What the stages said is shown as it happens, and kept in logs/."""
    assert "STAGE: Train - COMPLETED" in reproduced[0].stderr
    kept = (path.read_text() for path in (changed.root / "logs").glob("train_*.log"))
    assert sum("STAGE: Train - COMPLETED" in text for text in kept) >= 2


@pytest.mark.parametrize("name", ["uid", "beginning", "models:/{}/2", "local"])
def test_a_run_has_several_names(changed, name):
    """A run is found by its uid, a beginning of its id, and the versions that it made in both registries."""
    run = changed.metadata
    names = {
        "uid": run.uid,
        "beginning": run.run_id[:8],
        "models:/{}/2": f"models:/{changed.config.tracking.model_name}/2",
        "local": f"models:/{changed.config.tracking.model_name}/{changed.registry[-1]['version']}",
    }
    found = find_recorded(changed.config, names[name], LOG)
    assert found.metadata == run
    assert found.predictions.equals(changed.predictions)
    assert found.faults == ()


def test_predictions_that_cannot_be_read(project):
    """Damaged predictions are a fault of the record, and no run with such a record is found identical."""
    (path,) = (project.root / "logs/mlruns").rglob("test_predictions.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    found = find_recorded(project.config, "latest", LOG)
    assert found.predictions is None
    assert found.faults == ("record: test_predictions.parquet of the run cannot be read",)


def test_predictions_that_polars_panics_over(finished_project, monkeypatch):
    """Damage of which Polars panics, as of a few bytes in the middle, is a fault like another."""

    def panic(_file):
        raise pl.exceptions.PanicException("assertion failed: offset + length <= self.length")

    monkeypatch.setattr(pl, "read_parquet", panic)
    found = find_recorded(finished_project.config, "latest", LOG)
    assert found.faults == ("record: test_predictions.parquet of the run cannot be read",)


def test_predictions_that_are_gone(finished_project):
    """Predictions that the record does not have are not equal to what came out now."""
    run, predictions = finished_project.metadata, (None, finished_project.predictions)
    checks = compare_outcomes(run, run, predictions=predictions)
    assert [check.name for check in checks if not check.equal] == ["predictions"]
    assert judge_outcomes(checks, predictions, is_same_source=True) is Verdict.DIFFERENT


def test_without_the_store_the_journal_has_the_run(changed):
    """With the tracking store away the journal knows the run, and its predictions."""
    away = load_config(changed.root, environ={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    found = find_recorded(away, changed.metadata.uid, LOG)
    assert found.metadata.model == changed.metadata.model
    assert found.predictions.equals(changed.predictions)


@pytest.mark.parametrize("ref", ["nothing", "models:/other/1", "models:/other@production"])
def test_unknown_runs(project, modelbook, ref):
    """What is not on record is not found: exit 5."""
    answer = modelbook("-C", project.root, "reproduce", ref)
    assert answer.code == 5
    assert "there is no such" in answer.stderr


def test_a_reference_that_is_none(project, modelbook):
    """A model's name alone names no run: exit 2."""
    answer = modelbook("-C", project.root, "reproduce", "models:/houses")
    assert answer.code == 2
    assert "models:/NAME/VERSION" in answer.stderr


def test_a_run_of_a_notebook(project, modelbook):
    """A run without metadata.json, as `MLflowTracker` alone records it, cannot be made again: exit 5."""
    from modelbook.tracking.tracker import MLflowTracker

    with MLflowTracker(project.config) as tracker:
        run_id = tracker.start_run("by hand")
    answer = modelbook("-C", project.root, "reproduce", run_id)
    assert answer.code == 5
    assert "only the pipeline" in answer.stderr


def test_a_commit_that_is_not_there(project, tmp_path, modelbook):
    """In a shallow clone an older run's commit is missing: exit 5, and what to fetch is said."""
    project.git("commit", "--quiet", "--allow-empty", "--message", "later")
    shallow = tmp_path / "shallow"
    project.git("clone", "--quiet", "--depth", "1", f"file://{project.root}", str(shallow))
    shutil.copytree(project.root / "logs", shallow / "logs")
    answer = modelbook("-C", shallow, "reproduce", "latest")
    assert answer.code == 5
    assert "the repository does not hold the run's commit" in answer.stderr
    assert "git fetch --unshallow" in answer.stderr


def test_data_that_is_not_there(project, modelbook):
    """Data that neither DVC nor the project has is named with its hash: exit 5, no worktree is left."""
    cached(project).unlink()
    (project.root / "data/raw/houses.csv").unlink()
    md5 = project.metadata.lineage.data[0].md5
    answer = modelbook("-C", project.root, "reproduce", "latest")
    assert answer.code == 5
    assert "data/raw/houses.csv" in answer.stderr
    assert f"md5 {md5}" in answer.stderr
    assert "dvc push" in answer.stderr
    assert len(project.git("worktree", "list").splitlines()) == 1


def test_a_byte_of_data(project, modelbook):
    """Other bytes under the hash in DVC's cache: said beforehand, `different`, data named, exit 6."""
    path = cached(project)
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content.replace(b"Porto", b"Parto", 1))
    answer = modelbook("-C", project.root, "--json", "reproduce", "latest")
    assert answer.code == 6
    assert "DVC has other bytes under" in answer.stderr
    result = orjson.loads(answer.stdout)
    assert result["verdict"] == "different"
    assert any(cause.startswith("data: data/raw/houses.csv:") for cause in result["causes"])
    assert [check["equal"] for check in result["checks"] if check["name"] == "data/raw/houses.csv"] == [False]


def test_a_stage_that_fails_now(project):
    """A run whose stage fails today is not reproduced: exit 6, and what the stage said is passed on."""
    path = cached(project)
    path.chmod(0o644)
    path.write_text("area,rooms,town,price\n")
    with pytest.raises(NotReproducedError, match="the run cannot be made again"):
        reproduce_run(project.root, "latest")
    assert len(project.git("worktree", "list").splitlines()) == 1


def test_a_patch_that_does_not_apply(changed):
    """Changes that do not fit the commit are an error of their own: not reproduced."""
    from modelbook.pipeline.reproduction.worktree import recorded_worktree

    code = changed.metadata.lineage.code.model_copy(
        update={"patch": b"--- a/none\n+++ b/none\n@@ -1 +1 @@\n-a\n+b\n"}
    )
    with pytest.raises(NotReproducedError, match="do not apply"), recorded_worktree(changed.root, code):
        pass
    assert len(changed.git("worktree", "list").splitlines()) == 1


def test_outside_git(project):
    """A run that was made outside git has no code on record."""
    from modelbook.pipeline.reproduction.worktree import recorded_worktree

    code = project.metadata.lineage.code.model_copy(update={"commit": None})
    with pytest.raises(NotFoundError, match="outside git"), recorded_worktree(project.root, code):
        pass


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM, signal.SIGKILL]
)
def test_stopped_on_the_way(project, number, tmp_path):
    """Stopped by a signal it leaves no process and no worktree; after kill -9 the next one clears up."""
    words = [sys.executable, "-m", "modelbook", "reproduce", "latest"]
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        words, cwd=project.root, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if "STAGE: Ingest" in line:
                break
        process.send_signal(number)
        process.stderr.read()
    assert process.returncode == {2: 130, 15: 143, 9: -9}[number]
    trees = len(project.git("worktree", "list").splitlines())
    if number is signal.SIGKILL:
        assert trees == 2
        deadline = time.monotonic() + 10
        while _at_work(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.1)
        from modelbook.pipeline.reproduction.worktree import recorded_worktree

        with recorded_worktree(project.root, project.metadata.lineage.code):
            assert len(project.git("worktree", "list").splitlines()) == 2
    assert _at_work(tmp_path) == []
    assert len(project.git("worktree", "list").splitlines()) == 1
    assert not list(tmp_path.glob("modelbook-reproduce-*"))


def _at_work(folder):
    """Return the processes whose command names a folder."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [
        line
        for line in found.splitlines()
        if str(folder) in line and "modelbook.pipeline.reproduction.again" in line
    ]
