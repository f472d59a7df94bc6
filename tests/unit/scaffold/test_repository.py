import subprocess
from pathlib import Path

import pytest

from modelbook.errors import UsageError
from modelbook.scaffold.repository import GitPlace, commit_everything, find_place, start_repository


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_place_outside(tmp_path: Path):
    """A folder in no repository, there or not, gets one of its own."""
    assert find_place(tmp_path) is GitPlace.OWN
    assert find_place(tmp_path / "a" / "b") is GitPlace.OWN


def test_place_inside(tmp_path: Path):
    """A folder in a repository belongs to it, unless it is ignored there."""
    start_repository(tmp_path)
    (tmp_path / ".gitignore").write_text("demo/\n")
    assert find_place(tmp_path) is GitPlace.OUTER
    assert find_place(tmp_path / "other") is GitPlace.OUTER
    assert find_place(tmp_path / "demo") is GitPlace.OWN
    assert find_place(tmp_path / "demo" / "deep") is GitPlace.OWN


def test_place_ignored_in_part(tmp_path: Path):
    """A repository that ignores some of a project's files is no place for it, and they are named."""
    start_repository(tmp_path)
    (tmp_path / ".gitignore").write_text("data/\n")
    with pytest.raises(UsageError, match="ignores files that a project keeps") as caught:
        find_place(tmp_path / "demo")
    assert caught.value.got == "data/raw/table.csv.dvc"


def test_place_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without git on PATH there is no place."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_place(tmp_path) is GitPlace.NONE


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{role}_NAME", raising=False)
        monkeypatch.delenv(f"GIT_{role}_EMAIL", raising=False)


@pytest.mark.usefixtures("nobody")
def test_commit_as_nobody(tmp_path: Path):
    """Where git knows no user, the first commit is Modelbook's, and nothing of that stays set."""
    start_repository(tmp_path)
    (tmp_path / "a").write_text("a")
    commit_everything(tmp_path, "first")
    assert git(tmp_path, "log", "--format=%an %ae %s") == "Modelbook modelbook@localhost first"
    assert "user." not in git(tmp_path, "config", "--list")


@pytest.mark.usefixtures("nobody")
def test_commit_as_the_user(tmp_path: Path):
    """Where git knows the user, the first commit is the user's; hooks and signatures take no part."""
    start_repository(tmp_path)
    git(tmp_path, "config", "user.name", "Ben Example")
    git(tmp_path, "config", "user.email", "ben@example.org")
    git(tmp_path, "config", "commit.gpgsign", "true")
    hook = tmp_path / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    (tmp_path / "a").write_text("a")
    commit_everything(tmp_path, "first")
    assert git(tmp_path, "log", "--format=%an %s") == "Ben Example first"


def test_inside_a_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Variables by which git points its hooks at another repository are not followed."""
    other = tmp_path / "other"
    other.mkdir()
    start_repository(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert find_place(tmp_path / "demo") is GitPlace.OWN
