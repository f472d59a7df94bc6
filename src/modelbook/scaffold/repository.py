"""The git side of a new project: where it lives, and its first commit."""

import os
import shlex
import shutil
import subprocess
from enum import StrEnum
from pathlib import Path

from modelbook.errors import ModelbookError, UsageError

# A git that runs this command, as in a hook, points these at its own repository.
_POINTERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
_IDENTITY = {"user.name": "Modelbook", "user.email": "modelbook@localhost"}
_TRACKED = ("config/config.yaml", "dvc.yaml", "dvc.lock", ".dvc/config", "data/raw/table.csv.dvc")
# Every file that says what a run was made with and what it came to; the data itself is DVC's.
RUN_FILES = ("dvc.lock", "config", "data", "features.py")
HERE = Path()


class GitPlace(StrEnum):
    """Where a project's history is kept: in a repository of its own, in the one around it, or nowhere."""

    OWN = "own"
    OUTER = "outer"
    NONE = "none"


def find_place(directory: Path) -> GitPlace:
    """Return where the history of a project in a folder, existing or not, is going to be kept.

    A folder inside a repository belongs to it, unless that repository ignores the folder.

    Raises:
        UsageError: The repository around the folder ignores some of the project's files and not others.
    """
    if shutil.which("git") is None:
        return GitPlace.NONE
    anchor = nearest_folder(directory)
    if _git(anchor, "rev-parse", "--is-inside-work-tree", check=False).strip() != "true":
        return GitPlace.OWN
    paths = [str(directory / path) for path in _TRACKED]
    words = ("check-ignore", "--no-index", "--stdin", "-z")
    ignored = _git(anchor, *words, check=False, text="\0".join(paths)).split("\0")[:-1]
    if not ignored:
        return GitPlace.OUTER
    if len(ignored) == len(paths):
        return GitPlace.OWN
    raise UsageError(
        "the git repository around the folder ignores files that a project keeps in git",
        where=str(directory),
        got=", ".join(str(Path(path).relative_to(directory)) for path in ignored),
        hint="take them out of its .gitignore, or choose a folder outside that repository",
    )


def start_repository(root: Path) -> None:
    """Make a folder the root of a git repository.

    Raises:
        ModelbookError: Git refused.
    """
    _git(root, "init", "--quiet")


def commit_everything(root: Path, message: str) -> None:
    """Commit every file of a repository that is not ignored, under the user's name where git knows it.

    Hooks and signatures are for what a user writes: neither takes part.

    Raises:
        ModelbookError: Git refused.
    """
    missing = [name for name in _IDENTITY if not _git(root, "config", name, check=False).strip()]
    identity = [word for name in missing for word in ("-c", f"{name}={_IDENTITY[name]}")]
    _git(root, "add", "--all")
    _git(root, *identity, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", message)


def commit_command(*paths: str, message: str, folder: Path = HERE) -> str:
    """Return what to type to commit paths of a repository.

    Args:
        paths: The paths, relative to the folder.
        message: The commit's message.
        folder: The folder, where it is not the one that the command is typed in.

    Example:
        >>> commit_command("config", message="Train", folder=Path("my houses"))
        "git -C 'my houses' add config && git -C 'my houses' commit -m Train"
    """
    git = "git" if folder == HERE else f"git -C {shlex.quote(str(folder))}"
    return f"{git} add {shlex.join(paths)} && {git} commit -m {shlex.quote(message)}"


def nearest_folder(path: Path) -> Path:
    """Return a path itself where it is a folder, else the nearest one above it that is."""
    return next(place for place in (path, *path.parents) if place.is_dir())


def _git(folder: Path, *arguments: str, check: bool = True, text: str = "") -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _POINTERS}
    result = subprocess.run(  # noqa: S603 (a list of words, no shell)
        ["git", *arguments],  # noqa: S607 (git is found on PATH, as the user finds it)
        cwd=folder,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    if check and result.returncode:
        raise ModelbookError("git refused", where=str(folder), got=result.stderr.strip()[-300:])
    return result.stdout
