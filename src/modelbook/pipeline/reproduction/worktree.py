"""The code that a run was made with: its commit, and on it the changes that nobody had committed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from modelbook.errors import ModelbookError, NotFoundError, NotReproducedError
from modelbook.records import CodeState
from modelbook.tracking.lineage import GIT_POINTERS

_PREFIX = "modelbook-reproduce-"
_TREE = "tree"
_LOCK = "lock"
_NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")


@contextmanager
def recorded_worktree(root: Path, code: CodeState) -> Iterator[Path]:
    """Yield a project's folder as it was, in a git worktree of its own, which is gone on leaving.

    It lies in a temporary folder. The user's work tree, index and branch stay as they are; git's list of
    worktrees has one more while this lasts. What a killed process left of its worktree is taken away first.

    Args:
        root: The project, anywhere in its repository.
        code: The commit and what differed from it.

    Raises:
        NotFoundError: There is no repository, or it does not hold the commit.
        NotReproducedError: The recorded changes do not apply to the commit.
        ModelbookError: git refused.
    """
    commit = _check_commit(root, code)
    prefix = _git(root, "rev-parse", "--show-prefix").strip()
    _remove_abandoned(root)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
    tree = folder / _TREE
    with FileLock(folder / _LOCK):
        try:
            _git(root, *_NO_HOOKS, "worktree", "add", "--quiet", "--detach", str(tree), commit)
            if code.patch:
                _apply(tree, code.patch)
            (tree / prefix).mkdir(parents=True, exist_ok=True)
            yield tree / prefix
        finally:
            _remove(root, folder)


def replaced_files(root: Path, commit: str) -> tuple[str, ...]:
    """Return the files of a commit that `git replace` or a graft shows otherwise than they were committed.

    Args:
        root: The project.
        commit: The commit.
    """
    shown = _git(root, "rev-parse", f"{commit}^{{tree}}").strip()
    committed = _git(root, "--no-replace-objects", "rev-parse", f"{commit}^{{tree}}").strip()
    if shown == committed:
        return ()
    names = _git(root, "diff-tree", "-r", "--name-only", "-z", committed, shown)
    return tuple(name for name in names.split("\0") if name)


def _check_commit(root: Path, code: CodeState) -> str:
    if code.commit is None:
        raise NotFoundError(
            "the run's code is not on record: it was made outside git",
            where=str(root),
            hint="put the project into a git repository (`git init`, a first commit) and run it there",
        )
    if not _is_there(root, "rev-parse", "--git-dir"):
        raise NotFoundError(
            "the project is not in a git repository",
            where=str(root),
            expected=f"one that holds commit {code.commit}",
            hint="work in a clone of the repository that the run was made in",
        )
    if not _is_there(root, "cat-file", "-e", f"{code.commit}^{{tree}}"):
        raise NotFoundError(
            "the repository does not hold the run's commit",
            where=str(root),
            expected=f"commit {code.commit}" + (f" of branch {code.branch}" if code.branch else ""),
            hint=_how_to_get(root, code.commit),
        )
    return code.commit


def _how_to_get(root: Path, commit: str) -> str:
    if _git(root, "rev-parse", "--is-shallow-repository").strip() == "true":
        return "the clone is shallow: `git fetch --unshallow` brings the older commits"
    return (
        f"`git fetch origin {commit}` where it was pushed; else push its branch from where the run was made "
        "and `git fetch`"
    )


def _apply(tree: Path, patch: bytes) -> None:
    try:
        _git(tree, "apply", "--whitespace=nowarn", "-", content=patch)
    except ModelbookError as error:
        raise NotReproducedError(
            "the run's uncommitted changes do not apply to its commit",
            where="uncommitted.patch",
            got=error.got,
            hint="the patch or the commit is not what was recorded",
        ) from error


def _remove_abandoned(root: Path) -> None:
    """Take away the worktrees of processes that were killed: nobody holds their locks any more."""
    for line in _git(root, "worktree", "list", "--porcelain").splitlines():
        folder = Path(line.removeprefix("worktree ")).parent
        if not line.startswith("worktree ") or not folder.name.startswith(_PREFIX):
            continue
        try:
            if folder.is_dir():
                FileLock(folder / _LOCK).acquire(timeout=0).lock.release()
        except (Timeout, OSError):  # somebody works there, or clears it up
            continue
        _remove(root, folder)


def _remove(root: Path, folder: Path) -> None:
    _is_there(root, "worktree", "remove", "--force", "--force", str(folder / _TREE))
    shutil.rmtree(folder, ignore_errors=True)


def _is_there(root: Path, *arguments: str) -> bool:
    try:
        _git(root, *arguments)
    except ModelbookError:
        return False
    return True


def _git(root: Path, *arguments: str, content: bytes | None = None) -> str:
    """Return what git prints.

    Raises:
        ModelbookError: It is not installed, or it refused.
    """
    environ = {name: value for name, value in os.environ.items() if name not in GIT_POINTERS}
    try:
        done = subprocess.run(  # noqa: S603 (a list, never a shell)
            ["git", *arguments],  # noqa: S607 (the user's)
            cwd=root,
            env=environ | {"LC_ALL": "C"},
            input=content,
            stdin=subprocess.DEVNULL if content is None else None,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise NotFoundError(
            "git is not installed", hint="install it: runs are made again from commits"
        ) from None
    if done.returncode:
        got = done.stderr.decode(errors="replace").strip()
        raise ModelbookError("git refused", where=f"git {arguments[0]}", got=got)
    return done.stdout.decode("utf-8", "surrogateescape")
