"""A new project: built aside, checked, and put in its place whole or not at all."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from modelbook.config import DataConfig, load_config
from modelbook.data.tables import reading, scan_table, table_format
from modelbook.errors import ModelbookError, StorageError, UsageError
from modelbook.files import storage_errors
from modelbook.pipeline.packages import note_packages
from modelbook.pipeline.workspace import create_workspace
from modelbook.records import Record
from modelbook.scaffold.facts import measure
from modelbook.scaffold.profile import Profile, TaskChoice, decide, refuse_few_rows
from modelbook.scaffold.ratios import find_ratios
from modelbook.scaffold.render import TEMPLATES, WORKFLOWS, render_project
from modelbook.scaffold.repository import (
    GitPlace,
    commit_command,
    commit_everything,
    find_place,
    nearest_folder,
    start_repository,
)
from modelbook.scaffold.settings import settle
from modelbook.scaffold.source import Source, bring, without_password

_COMMIT_MESSAGE = "Lay down the project with modelbook init"
_OUTER_NOTE = (
    "the folder is part of a git repository that was there before, so nothing was committed for you; runs "
    "are recorded with their commit once the project has one: {command}"
)
_CI_NOTE = (
    "the workflow needs a tracking server (secret MLFLOW_TRACKING_URI), a gate (evaluation.thresholds) and, "
    "for a table that is a file, a DVC remote: .github/workflows/modelbook.yml says how"
)
_OUTER_CI_NOTE = (
    "GitHub looks for workflows at the top of the repository: move .github there, and give its job "
    "`defaults: {run: {working-directory: …}}`"
)
_NO_GIT_NOTE = (
    "git is not installed, so the project is in no repository and runs are recorded without a commit; once "
    "it is: git init, dvc config --unset core.no_scm, git add ., git commit"
)


class NewProject(Record):
    """What `init` laid down.

    Attributes:
        root: The project's folder, absolute.
        raw: Its copy of the table.
        source: Where the table comes from.
        git: Where its history is kept.
        profile: What was made of the table.
        notes: What the user should know.
    """

    root: Path
    raw: str
    source: str
    git: GitPlace
    profile: Profile
    notes: tuple[str, ...]


def create_project(
    directory: Path,
    source: Source,
    *,
    task: TaskChoice = "auto",
    ci: str | None = None,
    today: Callable[[], date] = date.today,
) -> NewProject:
    """Lay a project down in a folder: settings, pipeline, data, git and DVC.

    Everything is built in a temporary folder beside, and put in place when it is complete; on any failure
    nothing is left.

    Args:
        directory: The folder, absent or without any file that the project has.
        source: The table.
        task: What to predict the target as.
        ci: The service that is to run the project on each change: `github`, or None for none.
        today: Says which day it is.

    Raises:
        UsageError: The folder has such a file, or target and task do not suit the table.
        DataError: The table cannot be read, or nothing can be learned from it.
        StorageError: The folder cannot be written or the disk is full.
    """
    root = directory.resolve()
    workflows = WORKFLOWS.get(ci or "", {})
    _refuse_to_overwrite(root, [*TEMPLATES, *workflows, ".dvc", source.raw, f"{source.raw}.dvc"], source)
    git = find_place(root)
    with _building_site(root) as site, _named_for_people(site, root, source):
        provenance = bring(source, site / source.raw, home=root)
        profile = _look_at(site / source.raw, source, task)
        settings = settle(source, provenance, name=root.name)
        render_project(site, settings, profile=profile, today=today(), ci=ci)
        note_packages(load_config(site, environ={}))
        _set_up(site, tracked=site / source.raw, git=git)
        _install(site, root, source)
    notes = (*profile.notes, *provenance.notes, *_git_notes(git, root), *_ci_notes(git, ci))
    return NewProject(
        root=root, raw=source.raw, source=provenance.source, git=git, profile=profile, notes=notes
    )


def _look_at(raw: Path, source: Source, task: TaskChoice) -> Profile:
    table = scan_table(raw)
    with reading(raw), TemporaryDirectory(dir=raw.parent) as folder:
        if table_format(raw) != "parquet":  # text is parsed once, however often it is looked at
            table.sink_parquet(Path(folder) / "table.parquet", engine="streaming")
            table = scan_table(Path(folder) / "table.parquet")
        facts = measure(table)
        profile = decide(facts, target=source.target, task=task)
        numeric = set(profile.named("numeric"))
        ratios = find_ratios(table, [fact for fact in facts if fact.name in numeric])
    refuse_few_rows(facts, target=source.target, min_rows=DataConfig.model_fields["min_rows"].default)
    return profile.model_copy(update={"ratios": ratios})


def _git_notes(git: GitPlace, root: Path) -> tuple[str, ...]:
    if git is GitPlace.OWN:
        return ()
    command = commit_command(".", message=_COMMIT_MESSAGE, folder=root)
    return (_NO_GIT_NOTE if git is GitPlace.NONE else _OUTER_NOTE.format(command=command),)


def _ci_notes(git: GitPlace, ci: str | None) -> tuple[str, ...]:
    if ci is None:
        return ()
    return (_CI_NOTE,) if git is not GitPlace.OUTER else (_CI_NOTE, _OUTER_CI_NOTE)


def _set_up(site: Path, *, tracked: Path, git: GitPlace) -> None:
    has_git = git is not GitPlace.NONE
    if has_git:
        start_repository(site)
    create_workspace(site, tracked=tracked, has_git=has_git)
    if git is GitPlace.OWN:
        commit_everything(site, _COMMIT_MESSAGE)
    if git is GitPlace.OUTER:  # DVC had to see one; the files belong to the repository around them
        shutil.rmtree(site / ".git")


@contextmanager
def _building_site(root: Path) -> Iterator[Path]:
    """Yield a temporary folder on the file system of `root`; it is gone afterwards."""
    site = nearest_folder(root) / f".modelbook-init-{uuid4().hex[:12]}"
    try:
        site.mkdir()
    except OSError as error:
        raise StorageError(
            "the project's folder cannot be made",
            where=str(root),
            got=error.strerror,
            hint="choose a folder that you may write to",
        ) from error
    try:
        yield site
    finally:
        shutil.rmtree(site, ignore_errors=True)


@contextmanager
def _named_for_people(site: Path, root: Path, source: Source) -> Iterator[None]:
    """Name what the user knows, in errors about files in the temporary folder, which is gone by then."""
    try:
        yield
    except ModelbookError as error:
        if error.where is not None:
            address = source.raw if source.is_example else without_password(source.address)[0]
            error.where = error.where.replace(str(site / source.raw), address).replace(str(site), str(root))
        raise


def _install(site: Path, root: Path, source: Source) -> None:
    """Move what was built to its place; what was moved already is taken back if something fails."""
    _refuse_to_overwrite(root, _files(site), source)
    with storage_errors(root):
        if not root.exists():
            root.parent.mkdir(parents=True, exist_ok=True)
            site.rename(root)
            return
        moved: list[Path] = []
        try:
            _move(site, root, moved)
        except BaseException:
            for path in reversed(moved):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise


def _move(site: Path, root: Path, moved: list[Path]) -> None:
    for path in sorted(site.iterdir()):
        place = root / path.name
        if path.is_dir() and place.is_dir():
            _move(path, place, moved)
        elif not place.exists():
            path.rename(place)
            moved.append(place)


def _refuse_to_overwrite(root: Path, names: list[str], source: Source) -> None:
    nearest = next(path for path in (root, *root.parents) if path.exists())
    if not nearest.is_dir():
        raise UsageError(
            "the project's place is taken by a file", where=str(nearest), hint="choose another folder"
        )
    taken = [name for name in names if os.path.lexists(root / name) and not _is_source(root / name, source)]
    if taken:
        is_project = (root / "config/config.yaml").exists()
        raise UsageError(
            "the folder holds a project already" if is_project else "the folder holds files of those names",
            where=str(root),
            got=", ".join(taken),
            expected="a new or empty folder; nothing is overwritten",
            hint="choose another folder, or move these files away",
        )


def _is_source(path: Path, source: Source) -> bool:
    return not source.scheme and not source.is_example and path.is_file() and path.samefile(source.address)


def _files(site: Path) -> list[str]:
    return [str(path.relative_to(site)) for path in site.rglob("*") if not path.is_dir()]
