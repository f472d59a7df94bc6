"""Runs made again: every estimator on both examples, from little, after much, and with something changed."""

import importlib.metadata
import shutil
import subprocess
from collections import Counter

import orjson
import pytest

from modelbook.cli.main import main
from modelbook.errors import ModelRefusedError
from modelbook.models.estimators import CATALOGUE
from modelbook.pipeline.reproduction.reproduce import reproduce_run
from modelbook.pipeline.reproduction.verdict import Verdict
from modelbook.scaffold.project import create_project
from modelbook.scaffold.source import choose_source

pytestmark = pytest.mark.slow

TIMES = 2
COMMITS = 10
AUTO_S = 10
SMALL = {
    "model.hyperparameters.random_forest.n_estimators": "5",
    "model.hyperparameters.extra_trees.n_estimators": "5",
    "model.hyperparameters.hist_gradient_boosting": "{max_iter: 20}",
    "model.hyperparameters.lightgbm.n_estimators": "20",
    "model.hyperparameters.xgboost.n_estimators": "20",
    "model.hyperparameters.catboost.n_estimators": "20",
    "model.hyperparameters.mlp": "{hidden_layer_sizes: [16], max_iter: 20}",
    "model.hyperparameters.blend": "{members: [linear, {xgboost: {n_estimators: 20}}], folds: 2}",
}
FEATURES = """
from sklearn.base import BaseEstimator, TransformerMixin


class Scaled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.assign(scaled=X["area"] ** 2 / 100)
"""


@pytest.fixture(scope="module", params=["housing", "classification"])
def example(request, finished_project, tmp_path_factory):
    """Return a project of an example, all of its rows, with small settings."""
    root = tmp_path_factory.mktemp("example") / request.param
    create_project(root, choose_source(example=request.param, data=None, target=None, query=None))
    project = type(finished_project)(root)
    project.set(SMALL)
    project.commit()
    return project


@pytest.mark.parametrize("algorithm", CATALOGUE)
def test_every_estimator_on_both_examples(example, algorithm, say):
    """Each estimator of the catalogue, on both examples, twice: identical."""
    example.set({"model.algorithm": algorithm})
    run = example.run()
    found = [reproduce_run(example.root, run.run_id) for _ in range(TIMES)]
    say(f"{example.root.name}: {Counter(result.verdict for result in found)}")
    assert [result.verdict for result in found] == [Verdict.IDENTICAL] * TIMES
    assert all(check.equal for result in found for check in result.checks)
    assert not any(result.causes for result in found)


def test_of_an_automatic_choice(fresh):
    """What a search came to within seconds is made again bit for bit."""
    fresh.set({"model.algorithm": "auto", "training.time_budget_s": f"{AUTO_S}"})
    fresh.run()
    outcome = fresh.metadata.outcome
    assert outcome is not None
    assert any(trial.score is not None for trial in outcome.trials)
    result = reproduce_run(fresh.root, "latest")
    assert (result.verdict, result.causes) == (Verdict.IDENTICAL, ())
    assert all(check.equal for check in result.checks)


@pytest.fixture(scope="module")
def coded(finished_project, tmp_path_factory):
    """Return a project whose model has a transformer of its own, everything committed."""
    project = finished_project.copy(tmp_path_factory.mktemp("coded") / "houses")
    project.write("features.py", FEATURES)
    project.set({"features.custom": "Scaled"})
    project.commit()
    project.run()
    project.commit()
    return project


@pytest.fixture
def own(coded, tmp_path):
    """Return a copy of it that a test may change."""
    return coded.copy(tmp_path / "houses")


def test_from_a_fresh_clone(own, tmp_path, monkeypatch):
    """A clone with an empty DVC cache, a DVC remote and the tracking store makes the run again."""
    own.dvc("remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    own.dvc("push", "data/raw/houses.csv.dvc")
    own.commit()
    run = own.metadata
    own.git("clone", "--quiet", str(own.root), str(tmp_path / "clone"))
    clone = type(own)(tmp_path / "clone")
    assert not (clone.root / ".dvc/cache").exists()
    assert not (clone.root / "data/raw/houses.csv").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own.config.tracking_uri)
    result = reproduce_run(clone.root, run.run_id)
    assert result.verdict is Verdict.IDENTICAL
    assert result.causes == ()
    assert not (clone.root / "logs/mlflow.db").exists()
    assert len(own.recorded) == 3
    assert clone.git("status", "--porcelain") == ""


def test_of_a_registered_version(own):
    """A version is made again by its number, its alias and its local name."""
    name = own.config.tracking.model_name
    own.client.set_registered_model_alias(name, "production", "2")
    local = own.registry[-1]["version"]
    for ref in (f"models:/{name}/2", f"models:/{name}@production", f"models:/{name}/{local}"):
        result = reproduce_run(own.root, ref)
        assert (result.run_id, result.verdict) == (own.metadata.run_id, Verdict.IDENTICAL)
    assert own.versions == [1, 2]


def test_over_http(own, mlflow_server, monkeypatch):
    """What a server holds of a run is enough, and the server gets the new one, model and all."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    own.run()
    shutil.rmtree(own.root / "logs")
    result = reproduce_run(own.root, "latest")
    assert result.verdict is Verdict.IDENTICAL
    again = own.client.get_run(result.reproduced_run_id)
    assert again.info.status == "FINISHED"
    assert again.data.tags["modelbook.model_digest"] == own.metadata.model.digest
    assert own.versions == [1]


def test_after_ten_further_commits(own):
    """What became of code, settings and data since has no say."""
    run = own.metadata
    raw = own.root / "data/raw/houses.csv"
    for number in range(COMMITS):
        own.write("features.py", FEATURES.replace("100", str(number + 1)))
        own.set({"model.hyperparameters.random_forest.max_depth": str(number + 2)})
        lines = raw.read_text().splitlines(keepends=True)
        raw.unlink()
        raw.write_text("".join(lines[:-1]))
        own.dvc("add", str(raw))
        own.commit()
    assert reproduce_run(own.root, run.run_id).verdict is Verdict.IDENTICAL


def test_a_project_in_a_folder_of_a_repository(own, tmp_path):
    """A project that is a folder of a larger repository, with files of it not committed, is made again."""
    top = tmp_path / "top"
    shutil.copytree(own.root, top / "models/houses", symlinks=True)
    shutil.rmtree(top / "models/houses/.git")
    shutil.rmtree(top / "models/houses/logs")
    (top / "README.md").write_text("everything\n")
    project = type(own)(top / "models/houses")
    subprocess.run(["git", "init", "--quiet", str(top)], check=True)
    (project.root / ".dvc/config").write_text("[core]\n    analytics = false\n")
    subprocess.run(["git", "add", "README.md", "models/houses/config"], cwd=top, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "first"], cwd=top, check=True)
    project.run(use_dvc=False)
    assert project.metadata.lineage.code.is_dirty
    assert reproduce_run(project.root, "latest").verdict is Verdict.IDENTICAL


def test_without_mlflow_dvc_and_config_in_git(fresh):
    """Kept in the journal alone, with settings that git does not hold: identical."""
    fresh.set({"training.enable_mlflow": "false"})
    with (fresh.root / ".gitignore").open("a") as file:
        file.write("/config/\n")
    fresh.git("rm", "--quiet", "--cached", "-r", "config", ".dvc")
    fresh.commit()
    shutil.rmtree(fresh.root / ".dvc")
    fresh.run(use_dvc=False)
    assert reproduce_run(fresh.root, "latest").verdict is Verdict.IDENTICAL


def test_with_the_recorded_threads(fresh, monkeypatch):
    """The recorded number of threads counts, whatever n_jobs: -1 means here."""
    fresh.set({"training.n_jobs": "-1"})
    with monkeypatch.context() as other_machine:
        other_machine.setattr("modelbook.models.estimators.usable_cores", lambda: 3)
        fresh.run()
    assert fresh.metadata.lineage.threads == 3
    result = reproduce_run(fresh.root, "latest")
    assert result.verdict is Verdict.IDENTICAL
    again = fresh.client.get_run(result.reproduced_run_id)
    assert again.data.tags["modelbook.threads"] == "3"
    assert again.data.params["training.n_jobs"] == "-1"


def replace(project, path, *, old, new):
    """Show other content of a file in the run's commit, as `git replace` does, and restore the work tree."""
    commit = project.metadata.lineage.code.commit
    project.git("checkout", "--quiet", "--detach", commit)
    text = (project.root / path).read_text()
    assert old in text
    project.write(path, text.replace(old, new))
    project.git("commit", "--quiet", "--all", "--message", "other")
    other = project.git("rev-parse", "HEAD")
    project.git("checkout", "--quiet", "-")
    project.git("replace", commit, other)


def failed(project, capsys):
    """Run the command and return its answer, with its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["-C", str(project.root), "--json", "reproduce", project.metadata.run_id])
    return ended.value.code, orjson.loads(capsys.readouterr().out)


def test_one_setting_changed(own, capsys):
    """One key of the commit's settings changed: `different`, the key named with both values, exit 6."""
    replace(own, "config/config.yaml", old="n_estimators: 5", new="n_estimators: 6")
    code, answer = failed(own, capsys)
    assert (code, answer["verdict"]) == (6, "different")
    assert "config: model.hyperparameters.random_forest.n_estimators: 5 → 6" in answer["causes"]
    unequal = {check["name"] for check in answer["checks"] if not check["equal"]}
    assert {"config", "test_rmse", "predictions", "model digest"} <= unequal


def test_one_line_of_code_changed(own, capsys):
    """One line of the commit's features.py changed: `different`, the file named, exit 6."""
    replace(own, "features.py", old="** 2 / 100", new="** 3 / 100")
    code, answer = failed(own, capsys)
    assert (code, answer["verdict"]) == (6, "different")
    assert any(cause.startswith("code: git shows features.py") for cause in answer["causes"])
    assert any(cause.startswith("code: features.py: ") for cause in answer["causes"])


def test_a_patch_tampered_with(own):
    """A recorded patch that was changed in the store is refused: none of its code is run."""
    own.write("features.py", FEATURES.replace("100", "1000"))
    own.run()
    run = own.client.get_run(own.metadata.run_id)
    path = own.root / "logs/mlruns" / run.info.artifact_uri.partition("logs/mlruns/")[2] / "metadata.json"
    code_state = own.metadata.lineage.code
    other = code_state.patch.replace(b"1000", b"1001")
    lineage = own.metadata.lineage.model_copy(update={"code": code_state.model_copy(update={"patch": other})})
    path.unlink()
    own.metadata.model_copy(update={"lineage": lineage}).write(path)
    runs = len(own.recorded)
    with pytest.raises(ModelRefusedError, match="the run's record contradicts itself") as caught:
        reproduce_run(own.root, own.metadata.run_id)
    assert "patch_sha256" in (caught.value.got or "")
    assert len(own.recorded) == runs


def other_versions(monkeypatch, versions):
    """Let the environment be recorded with other versions of packages than are installed."""
    installed = importlib.metadata.distributions

    def distributions(**options):
        for distribution in installed(**options):
            if distribution.name in versions:
                text = f"Name: {distribution.name}\nVersion: {versions[distribution.name]}\n"
                yield type("Other", (), {"read_text": lambda _, __, text=text: text})()
            else:
                yield distribution

    monkeypatch.setattr(importlib.metadata, "distributions", distributions)


def test_a_package_of_another_version(fresh, monkeypatch):
    """Another version of a package is said beforehand and afterwards; an equal outcome is identical."""
    with monkeypatch.context() as then:
        other_versions(then, {"polars": "2.0.9"})
        fresh.run()
    assert fresh.metadata.lineage.environment.packages["polars"] == "2.0.9"
    result = reproduce_run(fresh.root, "latest")
    now = importlib.metadata.version("polars")
    assert result.verdict is Verdict.IDENTICAL
    assert result.causes == (f"package polars: 2.0.9 → {now}",)


def lay_package(folder, version, factor):
    """Put a package that features.py uses into a folder, as installing it would."""
    shutil.rmtree(folder, ignore_errors=True)
    info = folder / f"bricks-{version}.dist-info"
    info.mkdir(parents=True)
    (folder / "bricks.py").write_text(f"def weigh(values):\n    return values ** {factor}\n")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bricks\nVersion: {version}\n")
    (info / "top_level.txt").write_text("bricks\n")
    (info / "RECORD").write_text("bricks.py,,\n")


def test_a_package_that_computes_otherwise(fresh, tmp_path):
    """A package that features.py uses, upgraded to one with other results: `different`, named, exit 6."""
    packages = tmp_path / "packages"
    environ = {"PYTHONPATH": str(packages)}
    lay_package(packages, "1.0", 2)
    code = FEATURES.replace('X["area"] ** 2 / 100', 'bricks.weigh(X["area"])')
    fresh.write("features.py", f"import bricks\n{code}")
    fresh.set({"features.custom": "Scaled"})
    assert fresh.modelbook("run", env=environ).returncode == 0
    lay_package(packages, "2.0", 3)
    done = fresh.modelbook("--json", "reproduce", "latest", env=environ)
    answer = orjson.loads(done.stdout)
    assert (done.returncode, answer["verdict"]) == (6, "different")
    assert answer["causes"] == ["package bricks: 1.0 → 2.0"]
    assert "the environment differs from the recorded one: package bricks: 1.0 → 2.0" in done.stderr
