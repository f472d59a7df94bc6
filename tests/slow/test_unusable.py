"""A folder that cannot be written to, a database that another process holds: said, and nothing damaged."""

import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager

import pytest

from modelbook.files import file_hash

pytestmark = pytest.mark.slow

LIMIT_S = 90  # MLflow waits for 20 s each time that it finds the database locked


def give_work(project):
    with (project.root / project.config.data.raw).open("a") as file:
        file.write("50,2,Brno,51000\n")


def contents(project):
    """Return the hash of every file that a failed run has to leave alone."""
    kept = ("models/**/*", "data/**/*", "config/*", "logs/*.json", "logs/runs/**/*", "reports/**/*", "dvc.*")
    paths = {path for pattern in kept for path in project.root.glob(pattern) if path.is_file()}
    return {path: file_hash(path) for path in paths}


@contextmanager
def held(database):
    """Hold a SQLite database as another process does that writes to it."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def read_only(folder):
    """Make a folder one that nobody may write to, the superuser neither."""
    bind = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a folder read-only")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def as_before(project, modelbook):
    """Assert that a run succeeds and that the registries agree."""
    answer = modelbook("-C", project.root, "run")
    assert answer.code == 0, answer.stderr
    assert project.versions == [1, 2]
    assert [entry["mlflow_version"] for entry in project.registry] == ["1", "2"]
    assert {run.info.status for run in project.recorded} == {"FINISHED"}


@pytest.mark.parametrize("options", [(), ("--no-dvc",)], ids=["dvc", "no-dvc"])
def test_locked_database(project, modelbook, say, *, options):
    """A database that stays locked ends the run with exit code 7, and the next run finds nothing damaged."""
    give_work(project)
    began = time.monotonic()
    with held(project.root / "logs/mlflow.db"):
        answer = modelbook("-C", project.root, "run", *options)
    seconds = time.monotonic() - began
    say(f"exit {answer.code} after {seconds:.1f} s")
    assert seconds < LIMIT_S
    assert answer.code == 7, answer.stderr
    assert "database is locked" in answer.stderr
    assert "Traceback" not in answer.stderr
    as_before(project, modelbook)


@pytest.mark.parametrize("folder", [".", "models", "logs", "reports", "data/interim", ".dvc"])
def test_read_only_folder(project, modelbook, *, folder):
    """A folder that cannot be written to is named, and what lies in it stays as it was."""
    give_work(project)
    before = contents(project)
    with read_only(project.root / folder):
        answer = modelbook("-C", project.root, "run")
        assert answer.code in {1, 7}, answer.stderr
        assert "read-only" in answer.stderr.lower(), answer.stderr
        assert "unexpected error" not in answer.stderr
        assert "Traceback" not in answer.stderr
        inside = project.root / folder
        assert {path: code for path, code in contents(project).items() if inside in path.parents} == {
            path: code for path, code in before.items() if inside in path.parents
        }
    as_before(project, modelbook)
