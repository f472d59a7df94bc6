"""The three ways to run the stages: they do the same work and give the same record."""

import pytest

STAGES = ["ingest", "validate", "preprocess", "train", "register"]


@pytest.fixture(scope="module")
def by_dvc(new_project, tmp_path_factory):
    project = new_project.copy(tmp_path_factory.mktemp("dvc") / "houses")
    project.dvc("repro")
    return project


@pytest.fixture(scope="module")
def in_one_process(new_project, tmp_path_factory):
    project = new_project.copy(tmp_path_factory.mktemp("plain") / "houses")
    return project, project.run(use_dvc=False)


def same_result(one, other):
    assert one.metadata.metrics == other.metadata.metrics
    assert one.metadata.params == other.metadata.params
    assert one.metadata.model.digest == other.metadata.model.digest
    assert one.predictions.equals(other.predictions)
    for name in ("models/metrics.json", "models/test_predictions.parquet", "data/processed/train.parquet"):
        assert (one.root / name).read_bytes() == (other.root / name).read_bytes()


def test_dvc_repro_gives_what_run_gives(finished_project, by_dvc):
    """`dvc repro` and `modelbook run` make the same metrics, predictions and model, and record one run."""
    same_result(finished_project, by_dvc)
    assert [run.info.status for run in by_dvc.recorded] == ["FINISHED"]


def test_run_without_dvc_gives_what_run_gives(finished_project, in_one_process):
    """`modelbook run --no-dvc` makes the same metrics, predictions and model, and records one run."""
    project, _ = in_one_process
    same_result(finished_project, project)
    assert [run.info.status for run in project.recorded] == ["FINISHED"]


def test_every_stage_says_that_it_ran(in_one_process):
    """A run without DVC lists each stage once, as ran, with the reason."""
    _, outcome = in_one_process
    assert [(stage.name, stage.status) for stage in outcome.stages] == [(name, "ran") for name in STAGES]
    assert all(stage.why and stage.seconds >= 0 for stage in outcome.stages)


def test_dvc_skips_every_stage_of_what_run_finished(project):
    """After `modelbook run`, `dvc repro` finds nothing to do, and `dvc status` nothing changed."""
    said = project.dvc("repro")
    assert all(f"Stage '{name}' didn't change, skipping" in said for name in STAGES)
    assert "up to date" in project.dvc("status")


def test_run_skips_every_stage_of_what_dvc_finished(by_dvc):
    """After `dvc repro`, `modelbook run` finds nothing to do and names the run that was made."""
    before = by_dvc.metadata
    outcome = by_dvc.run()
    assert [(stage.status, stage.why) for stage in outcome.stages] == [("cached", ())] * 5
    assert (outcome.run_id, by_dvc.metadata) == (before.run_id, before)
    assert len(by_dvc.recorded) == 1


def test_a_finished_project_changes_no_file(project):
    """A run with nothing to do leaves every tracked file, the record and the registry as they are."""
    kept = [path for folder in ("models", "reports", "data") for path in (project.root / folder).rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    outcome = project.run()
    assert {stage.status for stage in outcome.stages} == {"cached"}
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert project.git("status", "--porcelain") == ""


def test_force_runs_every_stage_to_the_same_model(project):
    """`--force` runs every stage: a further run on record, the same model under the version it has."""
    before = project.metadata
    outcome = project.run(force=True)
    assert [(stage.status, stage.why) for stage in outcome.stages] == [("ran", ("it was forced",))] * 5
    assert project.metadata.model.digest == before.model.digest
    assert outcome.run_id != before.run_id
    assert outcome.model.version == "1"
    assert len(project.recorded) == 2
