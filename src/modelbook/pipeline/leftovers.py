"""What killed processes, older versions and moved folders left in a project, each with what to do about it.

Nothing is said of what is not there.
"""

import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from modelbook.config import Config
from modelbook.errors import ModelbookError
from modelbook.pipeline.finding import Finding, amiss, failed
from modelbook.registry.registry import ModelRegistry
from modelbook.registry.shelf import Shelf
from modelbook.tracking.outbox import waiting
from modelbook.tracking.places import experiment_folder

_WRITTEN_TO = ("config", "data", "logs", "models", "reports")
_PART = "." + "[0-9a-f]" * 16 + ".part"
_AT_WORK_S = 3600


def find_leftovers(config: Config) -> Iterator[Finding]:
    """Yield what lies about in a project, or points elsewhere, and what to do about it."""
    looks: tuple[Callable[[Config], Iterator[Finding]], ...] = (
        _outbox,
        _parts,
        _bundles,
        _registry,
        _telemetry,
        _hidden_data,
        _artifacts,
    )
    for look in looks:
        yield from look(config)


def _outbox(config: Config) -> Iterator[Finding]:
    count = len(waiting(config))
    if count:
        runs = f"{count} run{'s' if count > 1 else ''}"
        hint = "`modelbook sync` delivers it, and so does the next run that reaches the store"
        yield amiss("outbox", f"{runs} with something that the tracking store does not have yet", hint)


def _parts(config: Config) -> Iterator[Finding]:
    before = time.time() - _AT_WORK_S  # a younger one may be a file that is being written
    parts = [part for folder in _WRITTEN_TO for part in config.path(folder).rglob(_PART) if part.is_file()]
    sizes = [part.stat().st_size for part in parts if part.stat().st_mtime < before]
    if sizes:
        hint = f"`find {' '.join(_WRITTEN_TO)} -name '{_PART}' -mmin +60 -delete` removes them"
        detail = f"{len(sizes)} half-written files of killed processes, {sum(sizes) / 1e6:.1f} MB"
        yield amiss("parts", detail, hint)


def _bundles(config: Config) -> Iterator[Finding]:
    before = time.time() - _AT_WORK_S
    folders = [folder for folder in Shelf(config).unfinished() if folder.stat().st_mtime < before]
    if folders:
        detail = f"{len(folders)} half-made bundles of killed servers"
        yield amiss("bundles", detail, "`modelbook gc` removes them")


def _registry(config: Config) -> Iterator[Finding]:
    try:
        ModelRegistry(config).versions()
    except ModelbookError as error:
        yield failed("registry", error)


def _telemetry(config: Config) -> Iterator[Finding]:
    if os.environ.get("DVC_NO_ANALYTICS") or not config.path(".dvc").is_dir():
        return
    from dvc.config import Config as DvcConfig
    from dvc.config import ConfigError, to_bool

    with suppress(ConfigError):  # DVC says so itself, in each of its commands
        settings = DvcConfig(str(config.path(".dvc")), validate=False)
        if to_bool(str(settings.get("core", {}).get("analytics", "true"))):
            yield amiss("telemetry", "DVC reports its use from here", "`dvc config core.analytics false`")


def _hidden_data(config: Config) -> Iterator[Finding]:
    ignored = config.path(".gitignore")
    folder = Path(config.data.raw).parent.as_posix()
    lines = ignored.read_text(encoding="utf-8").splitlines() if ignored.is_file() else []
    hiding = next((line for line in lines if line.strip().strip("/") == f"{folder}/*"), None)
    if hiding:
        detail = f"the line {hiding.strip()} in .gitignore hides the record of the data from DVC"
        yield amiss("gitignore", detail, f"write /{folder}/?* in its place")


def _artifacts(config: Config) -> Iterator[Finding]:
    """MLflow keeps absolute paths, so a project that was moved or copied has those of its former place."""
    place = experiment_folder(config)
    if place is not None and not place.is_relative_to(config.root):
        detail = f"MLflow keeps those of experiment {config.tracking.experiment!r} in {place}"
        yield amiss("artifacts", detail, _way_back(place, config))


def _way_back(place: Path, config: Config) -> str:
    former = next((folder for folder in place.parents if (folder / "logs/mlruns") in place.parents), None)
    new = "give tracking.experiment another name: its runs are then kept here"
    if former is None or former.exists():
        return f"if the project was copied: {new}"
    link = shlex.join(["ln", "-s", str(config.root), str(former)])
    return f"`{link}` makes what was recorded before the project was moved readable; or {new}"
