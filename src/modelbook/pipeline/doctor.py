"""What a project needs, whether it has it, and what to do where it has not."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from modelbook.config import CONFIG_PATH, Config, load_config, mask_password
from modelbook.errors import ModelbookError
from modelbook.pipeline.check import check_dvc_files, check_project
from modelbook.pipeline.finding import Finding, failed, well
from modelbook.pipeline.leftovers import find_leftovers
from modelbook.pipeline.sharing import examine_sharing
from modelbook.pipeline.standing import examine_standing
from modelbook.tracking.lineage import git_refusal
from modelbook.tracking.store import old_file_store, open_client, store_errors

_FREE_BYTES = 1 << 30


def examine(root: Path, *, is_team: bool = False) -> list[Finding]:
    """Look at everything that a run in a folder relies on.

    Args:
        root: The folder.
        is_team: Whether to look at what others can reach, too.
    """
    findings = [well("python", platform.python_version()), _git(root), _space(root)]
    try:
        config = load_config(root)
    except ModelbookError as error:
        return [*findings, failed("config", error)]
    findings.append(Finding(name="config", is_well=True, detail=str(CONFIG_PATH)))
    looks: list[Callable[[Config], Finding]] = [_dvc, _pipeline, _data, _writable, _store]
    findings += [*(look(config) for look in looks), *_old_store(config), *find_leftovers(config)]
    findings += examine_standing(config)
    return [*findings, *examine_sharing(config)] if is_team else findings


def _git(root: Path) -> Finding:
    path = shutil.which("git")
    if path is None:
        hint = "install git: without it no run knows its commit"
        return Finding(name="git", is_well=False, detail="not installed", hint=hint)
    if refusal := git_refusal(root):
        hint = "until git takes the repository no run knows its commit; `git status` there says what to do"
        return Finding(name="git", is_well=False, detail=refusal, hint=hint)
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return Finding(name="git", is_well=True, detail=done.stdout.strip().removeprefix("git version "))


def _space(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    hint = "" if free > _FREE_BYTES else "free some space: a forest of 300 trees takes some 300 MB a run"
    return Finding(name="disk", is_well=free > _FREE_BYTES, detail=f"{free / 1e9:.1f} GB free", hint=hint)


def _dvc(config: Config) -> Finding:
    if config.path(".dvc").is_dir():
        return Finding(name="dvc", is_well=True, detail="the project is under DVC's care")
    hint = "run `dvc init` there, or use `modelbook run --no-dvc`"
    return Finding(name="dvc", is_well=False, detail="the project is not under DVC's care", hint=hint)


def _pipeline(config: Config) -> Finding:
    try:
        check_project(config, use_dvc=config.path(".dvc").is_dir())
        check_dvc_files(config)
    except ModelbookError as error:
        mistakes = getattr(error, "mistakes", ())
        return Finding(
            name="pipeline", is_well=False, detail="; ".join((error.what, *mistakes)), hint=error.hint or ""
        )
    return Finding(name="pipeline", is_well=True, detail=f"algorithm {config.model.algorithm}")


def _data(config: Config) -> Finding:
    raw = config.path(config.data.raw)
    if raw.is_file():
        return Finding(
            name="data", is_well=True, detail=f"{config.data.raw}, {raw.stat().st_size / 1e6:.1f} MB"
        )
    hint = "`dvc pull` or `dvc checkout` brings it; a URL or query is read by `modelbook run`"
    return Finding(name="data", is_well=False, detail=f"{config.data.raw} is missing", hint=hint)


def _writable(config: Config) -> Finding:
    folders = [config.root, *(config.path(name) for name in ("data", "models", "logs", "reports"))]
    closed = [str(folder) for folder in folders if folder.exists() and not os.access(folder, os.W_OK)]
    hint = "give yourself write permission there" if closed else ""
    detail = f"cannot write to {', '.join(closed)}" if closed else "every folder can be written"
    return Finding(name="folders", is_well=not closed, detail=detail, hint=hint)


def _store(config: Config) -> Finding:
    if not config.training.enable_mlflow:
        return Finding(name="tracking", is_well=True, detail="off: training.enable_mlflow is false")
    where = mask_password(config.tracking_uri) or ""
    try:
        client = open_client(config)
        with store_errors(config.tracking_uri):
            client.search_experiments(max_results=1)
    except ModelbookError as error:
        return failed("tracking", error)
    return Finding(name="tracking", is_well=True, detail=where)


def _old_store(config: Config) -> Iterator[Finding]:
    if hint := old_file_store(config):
        yield Finding(name="mlruns", is_well=False, detail="an old MLflow file store", hint=hint)
