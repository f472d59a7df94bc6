"""What a run of the pipeline would do and why, found out without doing any of it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from enum import StrEnum
from io import BytesIO, StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modelbook.config import CONFIG_PATH, Config, propose_values
from modelbook.pipeline import layout
from modelbook.pipeline.check import check_project
from modelbook.pipeline.packages import looks_at_packages, packages_text
from modelbook.pipeline.reasons import is_source_changed, reasons
from modelbook.pipeline.stages import STAGES
from modelbook.pipeline.workspace import dvc_errors
from modelbook.records import Record


class Prospect(StrEnum):
    """What would become of a stage: it would run, come back from DVC's cache, or stay as it is."""

    RUNS = "runs"
    RESTORED = "restored"
    CACHED = "cached"


class StagePlan(Record):
    """What a run would do with one stage.

    Attributes:
        name: The stage.
        prospect: What would become of it.
        why: Why it would have to run, one reason a line.
    """

    name: str
    prospect: Prospect
    why: tuple[str, ...] = ()


def explain_run(
    root: Path,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    use_dvc: bool = True,
    force: bool = False,
) -> tuple[StagePlan, ...]:
    """Return what a run with the same arguments would do with each stage; nothing is run, locked or written.

    Args:
        root: The project's folder.
        settings: What the run would write into config.yaml first.
        use_dvc: Whether DVC would decide what has to run.
        force: Whether every stage would run even if nothing changed.

    Raises:
        ConfigError: The settings are wrong.
        NotFoundError: A file that the pipeline is made of is missing.
        UsageError: The project is not under DVC's care.
    """
    path = root.absolute() / CONFIG_PATH
    proposal = propose_values(path, settings)
    check_project(proposal.config, use_dvc=use_dvc)
    if not use_dvc:
        why = ("it is forced" if force else "without DVC every stage runs",)
        return tuple(StagePlan(name=name, prospect=Prospect.RUNS, why=why) for name in STAGES)
    config = proposal.config
    texts = {path: proposal.text}
    if looks_at_packages(config):
        texts[config.path(layout.PACKAGES)] = packages_text(config)
    with dvc_errors(config.root), _onlooker(config, texts) as repo:
        return tuple(_plans(repo, config, force=force))


@contextmanager
def _onlooker(config: Config, texts: Mapping[Path, str]) -> Iterator[Any]:
    """Yield DVC's view of a project, in which some files read as given and nothing is locked."""
    from dvc.fs import LocalFileSystem
    from dvc.lock import LockNoop
    from dvc.repo import Repo

    given = {os.path.realpath(path): text for path, text in texts.items()}

    class Overlaid(LocalFileSystem):  # type: ignore[misc] # DVC has no types
        def open(self, path: Any, mode: str = "r", **options: Any) -> Any:
            text = given.get(os.path.realpath(path))
            if text is None:
                return super().open(path, mode, **options)
            return BytesIO(text.encode()) if "b" in mode else StringIO(text)

        def exists(self, path: Any, *arguments: Any, **options: Any) -> Any:
            is_given = isinstance(path, str) and os.path.realpath(path) in given
            return is_given or super().exists(path, *arguments, **options)

    with chdir(config.root), Repo(str(config.root), fs=Overlaid()) as repo:
        repo.lock = LockNoop()
        yield repo


def _plans(repo: Any, config: Config, *, force: bool) -> Iterator[StagePlan]:
    from dvc.repo.reproduce import plan_repro

    made_by = {str(config.path(config.data.raw)): "data.source"} if is_source_changed(config) else {}
    brought: dict[str, Any] = {}
    for stage in plan_repro(repo.index.graph):
        if stage.is_data_source:
            brought |= {out.fs_path: out.hash_info for out in stage.outs}
            continue
        plan = _plan(stage, made_by, brought=brought, force=force)
        if plan.prospect is not Prospect.CACHED:
            made_by |= {out.fs_path: plan.name for out in stage.outs}
        yield plan


def _plan(stage: Any, made_by: Mapping[str, str], *, brought: Mapping[str, Any], force: bool) -> StagePlan:
    name = stage.addressing
    if force:
        return StagePlan(name=name, prospect=Prospect.RUNS, why=("it is forced",))
    why = () if stage.frozen else reasons(stage, made_by=made_by, brought=brought)
    if not why:
        return StagePlan(name=name, prospect=Prospect.CACHED)
    has_new_inputs = any(dependency.fs_path in made_by for dependency in stage.deps)
    if has_new_inputs and stage.outs:
        why = (*why, "DVC restores it instead where its cache holds a run with the same inputs")
    is_restored = not has_new_inputs and _is_in_run_cache(stage)
    return StagePlan(name=name, prospect=Prospect.RESTORED if is_restored else Prospect.RUNS, why=why)


def _is_in_run_cache(stage: Any) -> bool:
    """Return whether DVC would bring a stage's outputs back instead of running it."""
    from dvc.exceptions import DvcException

    try:
        if stage.changed_stage() or not stage.deps_cached():
            stage.save_deps()  # in memory: the stage is never written back
            for output in stage.outs:
                output.clear()
        stage.repo.stage_cache.restore(stage, dry=True)
    except DvcException:
        return False
    return True
