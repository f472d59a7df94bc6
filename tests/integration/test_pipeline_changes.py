"""What a change runs again, and what becomes of the record."""

import orjson
import pytest

from modelbook.errors import DataReadError
from modelbook.files import file_hash
from modelbook.pipeline.explain import explain_run

TREES = "model.hyperparameters.random_forest.n_estimators"


def ran(outcome):
    return [stage.name for stage in outcome.stages if stage.status == "ran"]


def log_of(project, stage):
    return max((project.root / "logs").glob(f"{stage}_*.log")).read_text()


@pytest.fixture(scope="module")
def there_and_back(finished_project, tmp_path_factory):
    """A project whose forest had 5, 7, 5 and 7 trees, with what `dvc repro` said each time."""
    project = finished_project.copy(tmp_path_factory.mktemp("back") / "houses")
    said, names = [], [project.metadata.run_name]
    for trees in ("7", "5", "7"):
        project.set({TREES: trees})
        said.append(project.dvc("repro"))
        names.append(project.metadata.run_name)
    return project, said, names


def test_settings_that_come_back_make_no_new_run(there_and_back):
    """With 5, 7, 5 and 7 trees, two runs are recorded: the third and fourth time their outputs come back."""
    project, _, names = there_and_back
    assert [run.info.run_name for run in project.recorded] == names[:2]
    assert names == [*names[:2], *names[:2]]
    assert [run.data.params["n_estimators"] for run in project.recorded] == ["5", "7"]


def test_what_comes_back_names_the_run_that_made_it(there_and_back):
    """Outputs that DVC restores are said to be those of the run that made them."""
    project, said, _ = there_and_back
    first, second = project.recorded
    assert f"judging run {first.info.run_name} ({first.info.run_id})" in said[1]
    assert f"judging run {second.info.run_name} ({second.info.run_id})" in said[2]


def test_both_versions_and_both_exports_remain(there_and_back):
    """Going back and forth takes nothing away: two versions in either registry, two exported files."""
    project, _, _ = there_and_back
    assert [entry["mlflow_version"] for entry in project.registry] == ["1", "2"]
    assert len(list((project.root / "models/saved_models").glob("model_random_forest_*.joblib"))) == 2
    assert project.versions == [1, 2]


def test_dvc_tells_what_changed(there_and_back):
    """`dvc params diff` and `dvc metrics diff` print old and new values against the last commit."""
    project, _, _ = there_and_back
    params = orjson.loads(project.dvc("params", "diff", "--json").strip())
    assert params["config/config.yaml"][TREES] == {"old": 5, "new": 7, "diff": 2}
    metrics = orjson.loads(project.dvc("metrics", "diff", "--json").strip())
    change = metrics["models/metrics.json"]["test_rmse"]
    assert change["new"] == project.metadata.metrics["test_rmse"] != change["old"]


def test_a_changed_hyperparameter_trains_and_registers_alone(project):
    """Another number of trees does not read, validate or split again, and `run` says why the others ran."""
    project.set({TREES: "6"})
    outcome = project.run()
    assert ran(outcome) == ["train", "register"]
    train = outcome.stages[3]
    assert train.why == (f"{TREES}: 5 → 6",)


def test_changed_code_makes_the_features_again(project):
    """A change of features.py runs preprocess and what follows, not ingest and validate."""
    before = file_hash(project.root / "features.py", "md5")
    project.write("features.py", '"""Changed."""\n')
    outcome = project.run()
    assert ran(outcome) == ["preprocess", "train", "register"]
    old, new = (sha[:8] for sha in (before, file_hash(project.root / "features.py", "md5")))
    assert outcome.stages[2].why == (f"features.py changed: {old} → {new}",)
    assert f"why: features.py changed: {old} → {new}" in log_of(project, "preprocess")


def test_settings_of_another_algorithm_run_nothing(project):
    """A hyperparameter of LightGBM runs nothing while random_forest is chosen."""
    project.set({"model.hyperparameters.lightgbm.n_estimators": "9"})
    assert ran(project.run()) == []


def test_changed_data_runs_everything(project):
    """Another row in the source runs every stage; DVC's record of the source is the user's to renew."""
    source = project.root / "data/raw/houses.csv"
    source.write_text(source.read_text() + "50.0,2,Brno,51000\n")
    outcome = project.run()
    assert ran(outcome) == ["ingest", "validate", "preprocess", "train", "register"]
    assert (
        project.recorded[1].data.tags["modelbook.data.data/raw/houses.csv"]
        == project.metadata.lineage.data[0].md5
    )


@pytest.fixture
def fed(project, tmp_path):
    """Return a project whose source lies outside of it, and that file."""
    source = tmp_path / "delivered.csv"
    source.write_bytes((project.root / "data/raw/houses.csv").read_bytes())
    project.set({"data.source": str(source)})
    project.run()
    return project, source


def test_a_changed_source_outside_the_project(fed):
    """With DVC as without, a changed source is copied and used; `--explain` says so and touches nothing."""
    project, source = fed
    raw = project.root / "data/raw/houses.csv"
    assert {stage.status for stage in project.run().stages} == {"cached"}
    before = raw.read_bytes()
    source.write_text(source.read_text() + "100.5,3,Brno,90000\n")
    assert explain_run(project.root)[0].why[0] == "its input data/raw/houses.csv is made anew by data.source"
    assert raw.read_bytes() == before
    assert len(ran(project.run())) == 5
    assert raw.read_bytes() == source.read_bytes()
    assert project.metadata.lineage.data[0].md5 == file_hash(source, "md5")
    assert "up to date" in project.dvc("status")
    source.unlink()
    assert {stage.status for stage in project.run().stages} == {"cached"}


def test_a_source_that_cannot_be_copied(fed):
    """A source that is there and cannot be read is an error, as it is without DVC."""
    project, source = fed
    source.unlink()
    source.mkdir()
    with pytest.raises(DataReadError):
        project.run()


def test_a_changed_threshold_judges_the_same_run_again(project):
    """A threshold runs register alone, and its verdict is added to the run that is there."""
    before = project.metadata
    project.set({"evaluation.thresholds.rmse.max": "500000"})
    outcome = project.run()
    assert ran(outcome) == ["register"]
    assert outcome.stages[4].why == ("evaluation.thresholds.rmse.max: 1000000 → 500000",)
    assert outcome.run_id == before.run_id
    assert [(check.metric, check.passed) for check in outcome.gate.checks] == [("rmse", True)]
    (run,) = project.recorded
    assert run.data.tags["modelbook.gate"] == "passed"
    assert run.info.status == "FINISHED"


@pytest.fixture(scope="module")
def rejected(finished_project, tmp_path_factory):
    """A project whose second model misses its threshold."""
    project = finished_project.copy(tmp_path_factory.mktemp("rejected") / "houses")
    project.set({TREES: "6", "evaluation.thresholds.rmse.max": "1"})
    project.run()
    return project


def test_a_rejected_model_exits_4_with_the_whole_document(rejected, modelbook):
    """`run --json` of a rejected model exits 4, and its document says which check was missed."""
    project = rejected
    answer = modelbook("-C", project.root, "--json", "run")
    assert answer.code == 4
    document = orjson.loads(answer.stdout)
    assert document["gate"]["passed"] is False
    assert [check["name"] for check in document["gate"]["checks"]] == ["rmse_threshold"]
    assert document["model"] == {
        "name": project.config.tracking.model_name,
        "version": None,
        "local_version": None,
    }
    assert document["recorded"] == "mlflow"


def test_a_rejected_model_is_recorded_and_not_registered(rejected):
    """A rejected model is a finished run with its verdict, and a version in neither registry."""
    project = rejected
    run = project.recorded[1]
    assert (run.info.status, run.data.tags["modelbook.gate"]) == ("FINISHED", "rejected")
    assert len(project.registry) == 1
    assert project.versions == [1]


def test_a_rejected_model_stays_rejected(rejected):
    """Running again without a change judges again, exits 4 again and adds no run."""
    project = rejected
    outcome = project.run()
    assert (outcome.gate.verdict, ran(outcome)) == ("rejected", ["register"])
    assert len(project.recorded) == 2


def test_a_relaxed_threshold_registers_the_rejected_model(rejected, tmp_path):
    """After a relaxed threshold the same run passes and its model is registered, without training."""
    project = rejected.copy(tmp_path / "houses")
    project.set({"evaluation.thresholds.rmse.max": "1000000"})
    outcome = project.run()
    assert ran(outcome) == ["register"]
    assert (outcome.run_id, outcome.model.version) == (project.recorded[1].info.run_id, "2")
    assert project.recorded[1].data.tags["modelbook.gate"] == "passed"
