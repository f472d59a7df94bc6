"""Whether others could make a project's results again: what they cannot reach, and what to do."""

import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from modelbook.config import CONFIG_PATH, Config, mask_password
from modelbook.errors import ModelbookError
from modelbook.pipeline import layout
from modelbook.pipeline.finding import Finding, amiss, failed, well
from modelbook.pipeline.workspace import dvc_errors
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.lineage import git_says
from modelbook.tracking.places import versions_kept_here

_NAMED = 3
_SERVER = "run a server that the team reaches, as with `mlflow server --host 0.0.0.0`, and set tracking.uri"


def examine_sharing(config: Config) -> Iterator[Finding]:
    """Yield, for each thing that others need of a project, whether they reach it and what to do if not."""
    looks: tuple[Callable[[Config], Finding], ...] = (_notes, _commit, _data, _store, _models)
    return (look(config) for look in looks)


def _notes(config: Config) -> Finding:
    """Look at what says which data and settings the results came from."""
    if not git_says(config.root, "rev-parse", "--verify", "--quiet", "HEAD"):
        return amiss("dvc.lock", "the project is in no git repository or has no commit", "`git commit` it")
    if not config.path(layout.LOCK).is_file():
        return amiss("dvc.lock", "there is none: nothing has run yet", "`modelbook run` makes it")
    changed = git_says(config.root, "status", "--porcelain", "--untracked-files=all", "--", ".")
    if changed:
        detail = f"not committed: {_some([line[3:] for line in changed.splitlines()])}"
        return amiss("dvc.lock", detail, "`git add .` and `git commit` them: they say what was run with what")
    return well("dvc.lock", "committed, with everything beside it")


def _commit(config: Config) -> Finding:
    """Look at whether a remote has the commit, as far as this clone knows."""
    remote, *_ = [*git_says(config.root, "remote").split(), ""]
    if not remote:
        return amiss(
            "commit", "git knows no remote", "`git remote add origin URL` and `git push -u origin HEAD`"
        )
    holders = git_says(config.root, "branch", "--remotes", "--contains", "HEAD").split()
    if not holders:
        return amiss("commit", f"not pushed to {remote}", f"`git push -u {remote} HEAD`")
    return well("commit", f"pushed: {holders[0]} has it")


def _data(config: Config) -> Finding:
    from dvc.config import NoRemoteError
    from dvc.repo import Repo

    try:
        with dvc_errors(config.root), Repo(str(config.root)) as repo:
            away = sorted(repo.status(cloud=True))
    except ModelbookError as error:
        if isinstance(error.__cause__, NoRemoteError):
            hint = "`dvc remote add --default NAME URL` and `dvc push`"
            return amiss("dvc remote", "DVC knows no remote", hint)
        return failed("dvc remote", error)
    except Exception as error:  # noqa: BLE001 (each kind of remote raises what its own library does)
        detail = f"it does not answer: {type(error).__name__}: {error}"
        return amiss("dvc remote", detail, "`dvc remote list` shows where it is looked for")
    if away:
        return amiss("dvc remote", f"it lacks {_some(away)}", "`dvc push`")
    return well("dvc remote", "has the data and every output")


def _store(config: Config) -> Finding:
    if not config.training.enable_mlflow:
        hint = f"set training.enable_mlflow to true in {CONFIG_PATH}"
        return amiss("team store", "off: runs are on record in this project alone", hint)
    uri = config.tracking_uri
    where = mask_password(uri) or ""
    if sqlite_path(uri) is not None:
        return amiss("team store", f"a file on this machine: {where}", _SERVER)
    if _is_loopback(urlsplit(uri).hostname):
        return amiss("team store", f"on this machine alone: {where}", _SERVER)
    return well("team store", where)


def _models(config: Config) -> Finding:
    name = config.tracking.model_name
    if not config.training.enable_mlflow:
        return well("models", "none in MLflow's registry")
    try:
        here = versions_kept_here(config)
    except ModelbookError as error:
        return failed("models", error)
    if here:
        hint = f"{_SERVER}; it keeps artifacts for everyone, and `modelbook run` enters the run there"
        return amiss("models", f"{name} {_some(here)}: files on this machine", hint)
    return well("models", f"whoever reaches the store can fetch every version of {name}")


def _some(names: list[str]) -> str:
    further = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + further


def _is_loopback(host: str | None) -> bool:
    """Return whether a host's name means this machine; a database without one is on this machine too."""
    if not host or host == "localhost" or Path(host).is_absolute():
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
