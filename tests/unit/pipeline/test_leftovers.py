"""What lies about in a project, or points elsewhere: one message each."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from modelbook.config import Config, load_config
from modelbook.pipeline.finding import Finding
from modelbook.pipeline.leftovers import find_leftovers


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a project in which nothing lies about."""
    root = tmp_path / "houses"
    (root / "config").mkdir(parents=True)
    (root / "config/config.yaml").write_text("data: {source: data/raw/t.csv}\n")
    for folder in ("models", "logs", ".dvc", "data"):
        (root / folder).mkdir()
    return load_config(root)


def only(config: Config) -> Finding:
    (finding,) = find_leftovers(config)
    assert not finding.is_well
    return finding


def test_nothing_lies_about(config: Config):
    """Of a tidy project nothing is said."""
    assert list(find_leftovers(config)) == []


@pytest.mark.parametrize(("count", "words"), [(1, "1 run with"), (2, "2 runs with")])
def test_an_outbox(config: Config, *, count: int, words: str):
    """What waits for the tracking store is counted, and `sync` named."""
    for number in range(count):
        config.path(f"logs/outbox/{number}").mkdir(parents=True)
        config.path(f"logs/outbox/{number}/events.jsonl").write_text("…\n")
    config.path("logs/outbox/.removed").mkdir(parents=True)
    config.path("logs/outbox/.removed/events.jsonl").write_text("…\n")
    finding = only(config)
    assert (finding.name, finding.detail.startswith(words)) == ("outbox", True)
    assert "`modelbook sync`" in finding.hint


def test_half_written_files(config: Config):
    """Half-written files that nobody has touched for an hour are counted; the hint removes no others."""
    parts = [config.path(f"models/.{digit * 16}.part") for digit in "0a"]
    for part in parts:
        part.write_bytes(bytes(1_500_000))
        os.utime(part, (1, 1))
    config.path(f"logs/.{'b' * 16}.part").touch()
    other = config.path("data/.mine.part")
    other.touch()
    os.utime(other, (1, 1))
    finding = only(config)
    assert (finding.name, finding.detail) == ("parts", "2 half-written files of killed processes, 3.0 MB")
    command = finding.hint.split("`")[1].replace("reports ", "")
    os.chdir(config.root)
    assert os.system(command) == 0  # noqa: S605 (the command that is printed)
    assert not any(part.exists() for part in parts)
    assert other.exists()
    assert config.path(f"logs/.{'b' * 16}.part").exists()


def test_a_damaged_registry(config: Config):
    """A registry that cannot be read is named with what to do."""
    path = config.path("models/model_registry/registry.json")
    path.parent.mkdir()
    path.write_text("{")
    finding = only(config)
    assert finding.name == "registry"
    assert finding.detail.startswith("the local registry cannot be read")
    assert "move it away" in finding.hint


@pytest.mark.parametrize(("settings", "count"), [("", 1), ("[core]\nanalytics = false\n", 0), ("[core", 0)])
def test_telemetry_of_dvc(config: Config, monkeypatch: pytest.MonkeyPatch, *, settings: str, count: int):
    """Where DVC reports its use, the command that ends it is given."""
    monkeypatch.delenv("DVC_NO_ANALYTICS")
    config.path(".dvc/config").write_text(settings)
    findings = list(find_leftovers(config))
    assert [(finding.name, finding.hint) for finding in findings] == [
        ("telemetry", "`dvc config core.analytics false`")
    ] * count


@pytest.mark.parametrize("line", ["/data/raw/*", "data/raw/*"])
def test_a_line_that_hides_data(config: Config, line: str):
    """A line of .gitignore that hides .dvc files from DVC is named with the one to write in its place."""
    config.path(".gitignore").write_text(f"# data\n{line}\n!/data/raw/*.dvc\n")
    finding = only(config)
    assert finding.detail == f"the line {line} in .gitignore hides the record of the data from DVC"
    assert finding.hint == "write /data/raw/?* in its place"
    config.path(".gitignore").write_text("/data/raw/?*\n!/data/raw/*.dvc\n")
    assert list(find_leftovers(config)) == []


@pytest.fixture
def recorded(config: Config, empty_store: Path) -> Config:
    """Return the project with an experiment whose artifacts lie in it."""
    shutil.copy(empty_store, config.path("logs/mlflow.db"))
    place = config.path("logs/mlruns/abc").as_uri()
    insert = "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES (?, ?, 'active')"
    with closing(sqlite3.connect(config.path("logs/mlflow.db"))) as database, database:
        database.execute(insert, (config.tracking.experiment, place))
    return config


def test_artifacts_in_place(recorded: Config):
    """Of a project that lies where it was made nothing is said."""
    assert list(find_leftovers(recorded)) == []


def test_artifacts_of_a_moved_project(recorded: Config):
    """In a moved project the paths of before are named, and a link that mends them."""
    moved = recorded.root.rename(recorded.root.with_name("my flats"))
    finding = only(load_config(moved))
    assert finding.name == "artifacts"
    assert str(recorded.root / "logs/mlruns/abc") in finding.detail
    assert finding.hint.startswith(f"`ln -s '{moved}' {recorded.root}`")
    recorded.root.symlink_to(moved)
    assert (recorded.root / "logs").is_dir()


def test_artifacts_of_a_copied_project(recorded: Config):
    """A copy whose original is still there is told to name another experiment, and of no link."""
    copy = shutil.copytree(recorded.root, recorded.root.with_name("copy"))
    finding = only(load_config(copy))
    assert "give tracking.experiment another name" in finding.hint
    assert "ln -s" not in finding.hint


def test_half_made_bundles(config: Config):
    """A bundle that a killed server was making is named after an hour, with the command that removes it."""
    for digit, age_s in (("a", 0), ("b", 1)):
        folder = config.path(f"models/serving/bundles/.{digit * 16}.part")
        folder.mkdir(parents=True)
        if age_s:
            os.utime(folder, (age_s, age_s))
    finding = only(config)
    assert (finding.name, finding.detail) == ("bundles", "1 half-made bundles of killed servers")
    assert finding.hint == "`modelbook gc` removes them"
