"""What a run in MLflow holds: everything that its result came from, and everything that it left."""

import re
import subprocess
from pathlib import Path

import orjson
import polars as pl
import pytest
from ruamel.yaml import YAML

from modelbook.files import file_hash

TREES = "model.hyperparameters.random_forest.n_estimators"


@pytest.fixture(scope="module")
def run(finished_project):
    return finished_project.recorded[0]


@pytest.fixture(scope="module")
def artifacts(finished_project, run, tmp_path_factory):
    """The folder of the run's artifacts, downloaded."""
    folder = tmp_path_factory.mktemp("artifacts")
    return Path(finished_project.client.download_artifacts(run.info.run_id, "", str(folder)))


def test_the_name_is_the_algorithm_and_the_moment(run):
    """A run is named <algorithm>_<YYYYmmdd_HHMMSS>, after the moment it began."""
    assert re.fullmatch(r"random_forest_\d{8}_\d{6}", run.info.run_name)


def test_the_commit_and_branch_are_those_of_the_project(finished_project, new_project, run):
    """The run carries the commit that the project stood on, its branch, and whether anything differed."""
    tags = run.data.tags
    assert tags["mlflow.source.git.commit"] == new_project.git("rev-parse", "HEAD")
    assert tags["mlflow.source.git.branch"] == finished_project.git("branch", "--show-current")
    assert tags["modelbook.git.dirty"] == "false"


def test_inputs_have_the_hash_that_dvc_gives_them(finished_project, run):
    """The digest of each input is DVC's: the source's as in its .dvc file, the parts' as in dvc.lock."""
    digests = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    yaml = YAML(typ="safe")
    pointer = yaml.load(finished_project.root / "data/raw/houses.csv.dvc")
    lock = yaml.load(finished_project.root / "dvc.lock")["stages"]["preprocess"]["outs"]
    outs = {entry["path"]: entry["md5"] for entry in lock}
    assert digests == {
        "data/raw/houses.csv": pointer["outs"][0]["md5"],
        "data/processed/train.parquet": outs["data/processed/train.parquet"],
        "data/processed/test.parquet": outs["data/processed/test.parquet"],
    }
    assert all(run.data.tags[f"modelbook.data.{name}"] == digest for name, digest in digests.items())


def test_tags_name_what_the_result_came_from(finished_project, run):
    """Settings, environment, seeds, threads, command and model are named by tags."""
    tags, metadata = run.data.tags, finished_project.metadata
    assert tags["modelbook.uid"] == metadata.uid
    assert tags["modelbook.config_sha256"] == finished_project.config.sha256
    assert tags["modelbook.environment_sha256"] == metadata.lineage.environment.sha256
    assert (tags["modelbook.seed.split"], tags["modelbook.seed.training"]) == ("42", "42")
    assert tags["modelbook.threads"] == "2"
    assert tags["modelbook.command"] == metadata.lineage.command == tags["mlflow.source.name"]
    assert tags["modelbook.gate"] == "passed"
    assert tags["modelbook.model_digest"] == metadata.model.digest
    assert tags["modelbook.model_sha256"] == file_hash(finished_project.root / "models/model.skops")
    assert {"modelbook.python", "modelbook.cpu", "modelbook.host", "mlflow.user"} <= tags.keys()


def test_params_have_bare_and_dotted_names(run):
    """Hyperparameters and sample counts have bare names, every other setting its dotted path."""
    params = run.data.params
    assert params["algorithm"] == "random_forest"
    assert (params["train_samples"], params["test_samples"]) == ("240", "60")
    assert (params["n_estimators"], params["max_depth"]) == ("5", "None")
    assert params["split.test_size"] == "0.2"
    assert params["features.numeric.columns"] == "area, rooms"
    assert params["training.cv_folds"] == "0"
    assert params["project.task"] == "regression"
    assert not [name for name in params if name.startswith(("tracking", "serving", "model.", "data.schema"))]


def test_metrics_are_those_of_metrics_json(finished_project, run):
    """The run's metrics are those of models/metrics.json, for test and training rows."""
    metrics = orjson.loads((finished_project.root / "models/metrics.json").read_bytes())
    assert run.data.metrics == metrics
    names = ("rmse", "mae", "r2_score", "mape")
    assert metrics.keys() == {f"{part}_{name}" for part in ("test", "train") for name in names}


def test_artifacts_of_a_regression(artifacts):
    """Plots, reports, settings, locks, metadata and predictions are artifacts of the run."""
    expected = {
        "feature_importance.png",
        "residuals.png",
        "predicted_vs_actual.png",
        "report.html",
        "evaluation_report.json",
        "config.yaml",
        "dvc.lock",
        "environment.lock",
        "metadata.json",
        "test_predictions.parquet",
    }
    assert expected <= {path.name for path in artifacts.iterdir()}


def test_artifacts_are_what_the_project_holds(artifacts, finished_project):
    """Metadata, predictions and report are byte for byte those of the project, config.yaml its settings."""
    root = finished_project.root
    for name, path in {
        "metadata.json": "models/metadata.json",
        "test_predictions.parquet": "models/test_predictions.parquet",
        "report.html": "reports/report.html",
        "evaluation_report.json": "logs/evaluation_report.json",
        "residuals.png": "reports/plots/residuals.png",
    }.items():
        assert (artifacts / name).read_bytes() == (root / path).read_bytes()
    assert YAML(typ="safe").load(artifacts / "config.yaml") == finished_project.config.as_dict()


def test_the_environment_lock_pins_every_package(artifacts, finished_project):
    """The environment lock holds the exact version of every installed package."""
    import mlflow

    lines = (artifacts / "environment.lock").read_text().splitlines()
    assert f"mlflow=={mlflow.__version__}" in lines
    assert all(re.fullmatch(r"[\w.-]+==\S+", line) for line in lines[1:])
    assert len(lines) == len(finished_project.metadata.lineage.environment.packages) + 1


def test_the_lock_is_that_of_the_finished_pipeline(project):
    """The run's dvc.lock is the one that stands in the project once the pipeline is done."""
    project.set({TREES: "6"})
    outcome = project.run()
    path = project.client.download_artifacts(outcome.run_id, "dvc.lock", str(project.root / "logs"))
    stages = YAML(typ="safe").load(Path(path))["stages"]
    assert stages["train"] == YAML(typ="safe").load(project.root / "dvc.lock")["stages"]["train"]


def test_the_rows_of_the_predictions_are_those_of_the_test_table(finished_project):
    """Row N of the predictions is row N of test.parquet."""
    test = pl.read_parquet(finished_project.root / "data/processed/test.parquet")
    assert finished_project.predictions["actual"].to_list() == test["price"].to_list()


def test_the_model_carries_the_metrics_and_its_version_the_gate(finished_project, run):
    """The logged model bears the run's metrics; the registered version its digest, hash and verdict."""
    client = finished_project.client
    (output,) = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert {metric.key: metric.value for metric in logged.metrics} == run.data.metrics
    version = client.get_model_version(finished_project.config.tracking.model_name, "1")
    assert version.run_id == run.info.run_id
    assert version.tags == {
        "modelbook.gate": "passed",
        "modelbook.model_digest": run.data.tags["modelbook.model_digest"],
        "modelbook.model_sha256": run.data.tags["modelbook.model_sha256"],
        "modelbook.record_sha256": run.data.tags["modelbook.record_sha256"],
    }


def test_lineage_is_of_the_project_wherever_the_command_was_started(project, tmp_path, run_cli):
    """With -C from inside another repository, commit, patch and command are the project's own."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=elsewhere, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "-m", "other"], cwd=elsewhere, check=True)
    project.write("notes.py", "NOTES = 1\n")
    answer = run_cli("-C", project.root, "--json", "run", "--set", f"{TREES}=6", cwd=elsewhere)
    document = orjson.loads(answer.stdout)
    assert document["stages"][3]["why"] == [f"{TREES}: 5 → 6"]
    run = project.client.get_run(document["run_id"])
    assert run.data.tags["mlflow.source.git.commit"] == project.git("rev-parse", "HEAD")
    assert run.data.tags["modelbook.git.dirty"] == "true"
    assert run.data.tags["modelbook.command"] == f"modelbook -C {project.root} --json run --set {TREES}=6"
    patch = project.client.download_artifacts(run.info.run_id, "uncommitted.patch", str(tmp_path))
    text = Path(patch).read_text()
    assert "+      n_estimators: 6" in text
    assert "+NOTES = 1" in text


def test_dvc_lock_and_outs_do_not_make_a_run_dirty(fresh):
    """The first run of a committed project is clean, though it leaves dvc.lock and outs behind."""
    fresh.run(use_dvc=True)
    fresh.run(force=True)
    assert "dvc.lock" in fresh.git("status", "--porcelain")
    assert [run.data.tags["modelbook.git.dirty"] for run in fresh.recorded] == ["false", "false"]
