import os
import shutil
import subprocess
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import UNAUTHENTICATED

from modelbook.errors import TrackingStoreError
from modelbook.pipeline import doctor
from modelbook.pipeline.doctor import Finding, examine

SETTINGS = """\
data: {source: data/raw/t.csv}
model: {hyperparameters: {random_forest: {}}}
"""
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 (as shutil's own)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project that lacks nothing, its store one that answers."""
    for folder in ("config", ".dvc", "data/raw", "logs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "config/config.yaml").write_text(SETTINGS)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "features.py").touch()
    (tmp_path / "data/raw/t.csv").write_text("a,b\n1,2\n")
    store = SimpleNamespace(search_experiments=lambda max_results: [][:max_results])
    monkeypatch.setattr(doctor, "open_client", lambda _: store)
    return tmp_path


def look(root: Path, name: str) -> Finding:
    (finding,) = (finding for finding in examine(root) if finding.name == name)
    return finding


def amiss(root: Path) -> list[str]:
    return [finding.name for finding in examine(root) if not finding.is_well]


def test_all_is_well(root: Path):
    """A project that lacks nothing is said to lack nothing, and no advice is given."""
    findings = examine(root)
    names = {finding.name for finding in findings}
    assert {"python", "git", "disk", "config", "dvc", "data", "folders", "tracking"} <= names
    assert all(finding.is_well and finding.detail and not finding.hint for finding in findings)


def test_no_project(tmp_path: Path):
    """Where there are no settings that is what is amiss, and nothing that depends on them is looked at."""
    assert [finding.name for finding in examine(tmp_path)] == ["python", "git", "disk", "config"]
    finding = look(tmp_path, "config")
    assert finding.detail == f"there is no config file: {tmp_path / 'config/config.yaml'}"
    assert "modelbook init DIR" in finding.hint


def test_wrong_settings(root: Path):
    """Every mistake in the settings is named, on one line."""
    (root / "config/config.yaml").write_text("split: {seed: -1}\nextra: 1\n")
    finding = look(root, "config")
    assert not finding.is_well
    assert finding.detail == (
        "the configuration has 2 mistakes: split.seed: input should be greater than or equal to 0, got -1; "
        "extra: unknown key"
    )


def test_no_git(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Without git the advice is to install it."""
    monkeypatch.setenv("PATH", str(root))
    assert amiss(root) == ["git"]
    assert look(root, "git").hint.startswith("install git")


def test_little_space(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Less than a gigabyte of space is worth a word."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**8))
    assert amiss(root) == ["disk"]
    assert look(root, "disk").detail == "0.1 GB free"


def test_no_dvc(root: Path):
    """Without DVC there are two ways on."""
    (root / ".dvc").rmdir()
    assert amiss(root) == ["dvc"]
    assert "--no-dvc" in look(root, "dvc").hint


def test_no_data(root: Path):
    """Data that is not there is named with what brings it."""
    (root / "data/raw/t.csv").unlink()
    assert amiss(root) == ["data"]
    assert look(root, "data").detail == "data/raw/t.csv is missing"
    assert "dvc pull" in look(root, "data").hint


def test_a_closed_folder(root: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder that cannot be written to is named."""
    closed = root / "logs"
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != closed)
    assert amiss(root) == ["folders"]
    assert look(root, "folders").detail == f"cannot write to {closed}"


def test_a_repository_that_git_refuses(root: Path, monkeypatch: pytest.MonkeyPatch):
    """A repository that git refuses for its owner is a finding; it used to count as well."""
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    assert look(root, "git").is_well
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch to test this
    finding = look(root, "git")
    assert not finding.is_well
    assert "dubious ownership" in finding.detail


def test_a_store_that_does_not_answer(root: Path, monkeypatch: pytest.MonkeyPatch):
    """What the store says is passed on, and no password with it."""

    def refuse(_: object) -> None:
        raise TrackingStoreError(
            "the tracking server does not answer", where="http://a:***@b", hint="start it"
        )

    monkeypatch.setattr(doctor, "open_client", refuse)
    finding = look(root, "tracking")
    assert (finding.is_well, finding.hint) == (False, "start it")
    assert finding.detail == "the tracking server does not answer: http://a:***@b"


def test_a_store_that_refuses(root: Path, monkeypatch: pytest.MonkeyPatch):
    """What answers and refuses is a finding with its own words; the doctor used to die of it."""

    def refuse(**_: object) -> None:
        raise MlflowException("You are not authenticated.", error_code=UNAUTHENTICATED)

    monkeypatch.setattr(doctor, "open_client", lambda _: SimpleNamespace(search_experiments=refuse))
    finding = look(root, "tracking")
    assert not finding.is_well
    assert finding.detail == "the tracking store cannot be used: You are not authenticated."


def test_a_store_with_a_password(root: Path, monkeypatch: pytest.MonkeyPatch):
    """The store is named without its password."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ann:hush@host/db")
    assert look(root, "tracking").detail == "postgresql://ann:***@host/db"


def test_without_mlflow(root: Path, monkeypatch: pytest.MonkeyPatch):
    """A project that does without MLflow needs no store."""
    monkeypatch.setattr(doctor, "open_client", None)
    (root / "config/config.yaml").write_text(f"{SETTINGS}training: {{enable_mlflow: false}}\n")
    assert amiss(root) == []


def test_an_old_file_store(root: Path):
    """Runs in MLflow's old file store are pointed out with the way to move them."""
    (root / "mlruns/0").mkdir(parents=True)
    (root / "mlruns/0/meta.yaml").touch()
    assert amiss(root) == ["mlruns"]
    assert "mlflow migrate-filestore" in look(root, "mlruns").hint
