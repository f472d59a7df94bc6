"""The gate at `register`: slices and the smoke test, through DVC and without it."""

import shutil
from pathlib import Path

import pytest

from modelbook.config import CONFIG_PATH, load_config
from modelbook.errors import GateRejectedError
from modelbook.logs import PipelineLogger
from modelbook.pipeline.judging import judge_and_register
from modelbook.records import EvaluationReport

SLICES = """[{column: town, min_rows: 5, thresholds: {rmse: {max_worse: 0.5}, mae: {max: 900000}}},
 {column: area, bins: 2, min_rows: 10, thresholds: {rmse: {max: 900000}}},
 {column: rooms, min_rows: 12, thresholds: {rmse: {max: 900000}}}]"""


def ran(outcome):
    return [stage.name for stage in outcome.stages if stage.status == "ran"]


@pytest.fixture(scope="module")
def gated(finished_project, tmp_path_factory):
    """A finished project that is then given slices and a smoke test, with what `run` came to."""
    project = finished_project.copy(tmp_path_factory.mktemp("gated") / "houses")
    project.set({"evaluation.gate.slices": SLICES.replace("\n", ""), "evaluation.gate.smoke_test": "true"})
    return project, project.run()


def test_a_slice_judges_again_without_training(gated):
    """New slices run `register` alone; every check has its numbers, and the same run is passed."""
    project, outcome = gated
    assert ran(outcome) == ["register"]
    assert outcome.gate.verdict == "passed"
    kinds = [check.kind for check in outcome.gate.checks]
    assert (kinds[0], kinds[-1], {*kinds[1:-1]}) == ("threshold", "smoke_test", {"slice"})
    towns = {check.group for check in outcome.gate.checks if check.name.startswith("mae_slice")}
    assert towns == {"town: Aachen", "town: Brno", "town: Porto"}
    (small,) = (check for check in outcome.gate.checks if check.name == "rows_slice[rooms]")
    assert small.passed is None
    judged = [check for check in outcome.gate.checks if check.kind in {"threshold", "slice"} and check.passed]
    assert all(check.lower <= check.value <= check.upper for check in judged)
    assert len(project.recorded) == 1


def test_the_numbers_are_recorded_with_the_run(gated):
    """evaluation_report.json and the run's own copy hold every check; what was not judged is no answer."""
    project, outcome = gated
    report = EvaluationReport.read(project.root / "logs/evaluation_report.json")
    assert report.gate.checks == outcome.gate.checks
    assert set(report.threshold_checks) == {
        check.name for check in outcome.gate.checks if check.passed is not None
    }
    (run,) = project.recorded
    path = project.client.download_artifacts(run.info.run_id, "evaluation_report.json")
    assert EvaluationReport.read(Path(path)).gate == report.gate
    assert run.data.tags["modelbook.gate"] == "passed"


def test_the_report_shows_them(gated):
    """report.html has the table, with what was not judged and why."""
    project, _ = gated
    page = (project.root / "reports/report.html").read_text()
    assert "RMSE, town: Porto" in page
    assert "not judged: " in page
    assert "Smoke test" in page
    assert '<svg class="whisker"' in page


def test_without_dvc_the_verdict_is_the_same(gated, tmp_path):
    """`run --no-dvc` asks the same and gets the same answers."""
    project, outcome = gated
    copy = project.copy(tmp_path / "houses")
    again = copy.run(use_dvc=False)
    assert again.gate.checks == outcome.gate.checks


def test_a_missed_slice_rejects(gated, tmp_path, modelbook):
    """A group beyond its limit rejects the model: exit 4, with group, value and limit."""
    project = gated[0].copy(tmp_path / "houses")
    project.set({"evaluation.gate.slices": "[{column: town, min_rows: 5, thresholds: {rmse: {max: 1}}}]"})
    answer = modelbook("-C", project.root, "run")
    assert answer.code == 4
    log = max((project.root / "logs").glob("register_*.log")).read_text()
    assert "rmse of town: Porto" in log
    assert "(at most 1): missed" in log
    with pytest.raises(GateRejectedError) as caught:
        judge_and_register(project.config, PipelineLogger("register"))
    assert caught.value.what.startswith("the model does not pass the gate")
    assert caught.value.where == "evaluation.gate.slices"
    assert "rmse of town: Porto at most 1" in caught.value.expected


def test_a_package_that_does_not_work_is_rejected(gated, tmp_path):
    """A model that does not load elsewhere is rejected, and it is said why."""
    project = gated[0].copy(tmp_path / "houses")
    shutil.rmtree(project.root / "models/code")
    with pytest.raises(GateRejectedError) as caught:
        judge_and_register(project.config, PipelineLogger("register"))
    assert caught.value.where == "evaluation.gate.smoke_test"
    assert "a file of the model is missing" in caught.value.got
    report = EvaluationReport.read(project.root / "logs/evaluation_report.json")
    assert (report.gate.verdict, report.threshold_checks["smoke_test"]) == ("rejected", False)


def test_a_column_that_is_not_there_is_a_mistake_in_the_settings(project, modelbook):
    """A slice over an unknown column exits 2 before anything runs, with its path."""
    path = project.root / CONFIG_PATH
    part = "slices: [{column: twon, thresholds: {rmse: {max: 1}}}]"
    path.write_text(path.read_text().replace("slices: []", part))
    answer = modelbook("-C", project.root, "run")
    assert answer.code == 2
    assert "evaluation.gate.slices.0.column: data.schema has no column 'twon'" in answer.stderr


def test_a_project_made_before_there_were_slices(project):
    """`gate: {}`, as older projects have it, asks for nothing, and a dvc.yaml of that time still works."""
    path = project.root / CONFIG_PATH
    settings = load_config(project.root).model_dump(by_alias=True, mode="json")
    assert settings["evaluation"]["gate"]["smoke_test"] is False
    text = path.read_text()
    start, end = text.index("  gate: #"), text.index("\ntracking:")
    path.write_text(text[:start] + "  gate: {}\n" + text[end:])
    pipeline = project.root / "dvc.yaml"
    lines = pipeline.read_text().replace("evaluation.gate.slices", "evaluation.gate")
    pipeline.write_text(lines.replace("          - evaluation.gate.smoke_test\n", ""))
    assert project.run().gate.verdict == "passed"
