"""What others get: the data goes to a DVC remote, and a clone of the project comes to the same result."""

import pytest

from modelbook.pipeline.workspace import track
from modelbook.scaffold.project import create_project
from modelbook.scaffold.repository import RUN_FILES
from modelbook.scaffold.source import Source


@pytest.fixture
def shared(project, tmp_path):
    """Return a finished project, all of it pushed to a DVC remote."""
    project.dvc("remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    project.dvc("push")
    project.commit()
    return project


@pytest.fixture
def other(shared, tmp_path):
    """Return a clone of it, with what git holds and nothing else."""
    shared.git("clone", "--quiet", str(shared.root), str(tmp_path / "other"))
    return type(shared)(tmp_path / "other")


def raw_stage(project):
    from dvc.repo import Repo

    with Repo(str(project.root)) as repo:
        return [stage.path_in_repo for stage in repo.index.stages if stage.is_data_source]


def test_push_takes_the_raw_table(fresh, tmp_path):
    """`dvc push` takes the raw table of a project that has not run, and the folder's git holds none of it."""
    assert raw_stage(fresh) == ["data/raw/houses.csv.dvc"]
    fresh.dvc("remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    assert "1 file pushed" in fresh.dvc("push")
    assert "data/raw/houses.csv" not in fresh.git("ls-files").splitlines()


def test_a_clone_has_what_was_shared(shared, other):
    """In a clone, `dvc pull` and `modelbook run` bring data and model, untrained, and record the run."""
    other.dvc("pull")
    assert (other.root / "data/raw/houses.csv").read_bytes() == (
        shared.root / "data/raw/houses.csv"
    ).read_bytes()
    outcome = other.run()
    assert {
        stage.name: stage.status for stage in outcome.stages if stage.name != "register"
    } == dict.fromkeys(("ingest", "validate", "preprocess", "train"), "cached")
    assert other.metadata == shared.metadata
    assert outcome.recorded == "mlflow"
    assert len(other.recorded) == 1


@pytest.mark.parametrize("driver", ["dvc", "modelbook"])
def test_raw_table_changed_in_place(project, driver):
    """A raw table that was changed where it lies is read again, and DVC's record of it follows."""
    raw = project.root / "data/raw/houses.csv"
    before = (project.root / "data/raw/houses.csv.dvc").read_text()
    lines = raw.read_text().splitlines(keepends=True)
    raw.unlink()
    raw.write_text("".join(lines[:-20]))
    if driver == "dvc":
        assert "Running stage 'ingest'" in project.dvc("repro")
    else:
        assert [stage.status for stage in project.run().stages] == ["ran"] * 5
    assert (project.root / "data/raw/houses.csv.dvc").read_text() != before
    assert "up to date" in project.dvc("status")


@pytest.mark.parametrize("name", ["größe # [1] {a} !.csv", "#1.csv", "!.csv", "価格.csv"])
def test_strange_names_are_seen(name, tmp_path, fresh):
    """A table of any name is kept out of git, and its .dvc file is seen by git and DVC."""
    table = tmp_path / name
    table.write_text("x,y\n" + "".join(f"{row % 7}.5,{row}.5\n" for row in range(60)))
    create_project(tmp_path / "demo", Source(str(table), "y"))
    project = type(fresh)(tmp_path / "demo")
    assert raw_stage(project) == [f"data/raw/{name}.dvc"]
    listed = project.git("-c", "core.quotePath=false", "ls-files", "-z", "data").strip("\0").split("\0")
    assert listed == [f"data/raw/{name}.dvc"]


def test_later_tables_are_kept_out_of_git(fresh):
    """A table that comes into the folder later is tracked by DVC and not by git either."""
    later = fresh.root / "data/raw/later [2].parquet"
    later.write_bytes((fresh.root / "data/raw/houses.csv").read_bytes())
    track(fresh.root, later)
    fresh.git("add", "--all")
    assert fresh.git("status", "--porcelain") == 'A  "data/raw/later [2].parquet.dvc"'
    assert len(raw_stage(fresh)) == 2


def test_committing_a_run_as_told(fresh):
    """After the commit that the README gives, nothing is left over, and `dvc metrics diff` has a baseline."""
    fresh.run()
    fresh.git("add", *RUN_FILES)
    fresh.git("commit", "--quiet", "--message", "Train a model")
    assert fresh.git("status", "--porcelain") == ""
    assert fresh.dvc("metrics", "diff").strip() == ""
    fresh.run(settings={"model.hyperparameters.random_forest.n_estimators": "6"})
    assert "models/metrics.json" in fresh.dvc("metrics", "diff")
