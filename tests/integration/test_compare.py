"""Runs side by side, and lists of runs written to files."""

import csv
import json
import runpy
import textwrap
from pathlib import Path

import pytest

from modelbook.config import load_config
from modelbook.pipeline.compare import compare_runs

TREES = "model.hyperparameters.random_forest.n_estimators"


@pytest.fixture(scope="module")
def three_runs(finished_project, tmp_path_factory):
    """Return a project with runs of 5 trees, of 25 trees, and of 25 trees on another split."""
    project = finished_project.copy(tmp_path_factory.mktemp("three") / "houses")
    project.run(settings={TREES: "25"})
    project.run(settings={"split.seed": "7"})
    return project, [run.info.run_id for run in project.recorded]


def test_what_differs_is_named(three_runs):
    """Settings and data that are not the same in all runs, and nothing else."""
    project, ids = three_runs
    record = compare_runs(project.root, ids, resamples=100).record
    assert {line.name: line.values for line in record.settings} == {
        "n_estimators": ("5", "25", "25"),
        "split.seed": ("42", "42", "7"),
    }
    assert [line.name for line in record.data] == [
        "data/processed/test.parquet",
        "data/processed/train.parquet",
    ]
    assert record.environment == ()


def test_runs_on_the_same_rows_are_held_against_each_other(three_runs):
    """Each metric has its difference and an interval around it; other test rows are said to be so."""
    project, ids = three_runs
    first, second, third = compare_runs(project.root, ids, resamples=500).record.runs
    assert (first.differences, first.incomparable) == ((), None)
    assert [found.metric for found in second.differences] == ["rmse", "mae", "r2_score", "mape"]
    for found in second.differences:
        assert found.difference == second.metrics[found.metric] - first.metrics[found.metric]
        assert found.lower <= found.difference <= found.upper
    assert (third.differences, third.incomparable) == ((), "it was tested on other rows")


def test_a_run_beside_itself_is_the_same(three_runs):
    """No difference, and an interval of nothing."""
    project, ids = three_runs
    _, again = compare_runs(project.root, [ids[0], ids[0]], resamples=50).record.runs
    assert {found.judgement for found in again.differences} == {"the same"}


def test_a_frame_has_a_row_for_each_run(three_runs):
    """Metrics, differences with their intervals, and what differs are its columns."""
    project, ids = three_runs
    table = compare_runs(load_config(project.root), ids, resamples=50).record.to_frame()
    assert table.index.tolist() == ids
    assert table["settings.n_estimators"].tolist() == ["5", "25", "25"]
    assert table["lower.rmse"].notna().tolist() == [False, True, False]


def test_the_example_from_python(three_runs, tmp_path, monkeypatch):
    """What the README shows works as it stands, in a project's folder."""
    project, ids = three_runs
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    lines = readme.partition("    from modelbook import compare_runs")[2].partition("\n`")[0]
    (tmp_path / "example.py").write_text(textwrap.dedent(f"    from modelbook import compare_runs{lines}"))
    monkeypatch.chdir(project.root)
    found = runpy.run_path(str(tmp_path / "example.py"))
    assert found["runs"]["run_id"].tolist() == ids[::-1]
    assert found["runs"]["metrics.test_rmse"].notna().all()
    assert found["both"].index.tolist() == ids[:0:-1]
    assert "metrics.rmse" in found["both"]


def test_the_command_prints_and_writes(three_runs, modelbook, tmp_path):
    """A beginning of an id and `latest` are enough; the page holds everything that it shows."""
    project, ids = three_runs
    done = modelbook("-C", project.root, "compare", ids[0][:8], "latest", "--export", tmp_path / "page.html")
    assert done.code == 0
    assert "is not comparable: it was tested on other rows" in done.stdout
    assert "settings: split.seed:" in done.stdout
    page = (tmp_path / "page.html").read_text()
    assert "2 runs" in page
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize("command", ["compare", "runs"])
def test_every_form_holds_every_run(three_runs, modelbook, tmp_path, *, command):
    """CSV, JSON and HTML of a comparison and of a list of runs."""
    project, ids = three_runs
    words = [command, *(ids if command == "compare" else ())]
    for kind in ("csv", "json", "html"):
        path = tmp_path / f"runs.{kind}"
        assert modelbook("-C", project.root, *words, "--export", path).code == 0
        assert all(run_id[:8] in path.read_text() for run_id in ids) or kind == "html"
    with (tmp_path / "runs.csv").open() as file:
        assert {row["run_id"] for row in csv.DictReader(file)} == set(ids)
    listed = json.loads((tmp_path / "runs.json").read_text())
    assert len(listed["runs"] if command == "compare" else listed) == len(ids)


def test_mistakes_are_named(three_runs, modelbook, tmp_path):
    """One run alone, an unknown run, and a file of no known form."""
    project, ids = three_runs
    said = {
        ("compare", ids[0]): (2, "a comparison takes two runs or more"),
        ("compare", ids[0], "nothing"): (5, "there is no such run"),
        ("compare", *ids, "--export", tmp_path / "x.pdf"): (2, "the end of the file's name says no form"),
        ("runs", "--export", tmp_path / "x"): (2, "the end of the file's name says no form"),
    }
    for words, (code, message) in said.items():
        done = modelbook("-C", project.root, *words)
        assert (done.code, message in done.stderr) == (code, True), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_comment_on_a_pull_request(three_runs, modelbook, tmp_path):
    """Markdown has a line for each metric of each run; `current` is the run that lies in the project."""
    project, _ = three_runs
    path = tmp_path / "comparison.md"
    words = ("-C", project.root, "--json", "compare")
    name = project.config.tracking.model_name
    first = f"models:/{name}/1"
    done = modelbook(*words, first, "current", "--export", path)
    assert done.code == 0, done.stderr
    lines = path.read_text().splitlines()
    assert lines[0] == "### Modelbook"
    assert sum(line.startswith("| `") for line in lines) == 8
    assert json.loads(done.stdout)["runs"][1]["run_id"] == project.metadata.run_id
    assert any(line.startswith("- settings: ") for line in lines)


def test_nothing_in_production_yet(three_runs, modelbook, tmp_path):
    """Without a first run the comparison fails (exit 5), or shows the others alone if that is asked."""
    project, _ = three_runs
    path = tmp_path / "comparison.md"
    production = f"models:/{project.config.tracking.model_name}@production"
    words = ("-C", project.root, "compare", production, "latest")
    assert modelbook(*words, "--export", path).code == 5
    assert not path.exists()
    done = modelbook(*words, "--or-alone", "--export", path)
    assert done.code == 0, done.stderr
    assert "There is nothing to hold it against yet." in path.read_text()
