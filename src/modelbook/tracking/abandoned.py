"""Runs that a killed process left open, told apart from those that are still at work.

A run carries where it is at work: the machine, its boot, the project's folder and the process. It is closed
only by a command of the same project on the same machine since the same boot, and only where that process is
gone. Where the operating system does not say all of this, a run says nothing of it, and nobody closes it.
"""

import os
import platform
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelbook.config import Config
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.events import UID_TAG
from modelbook.tracking.outbox import outbox_of
from modelbook.tracking.store import read_only, store_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

HOST_TAG = "modelbook.host"
BOOT_TAG = "modelbook.boot"
PROJECT_TAG = "modelbook.project"
PROCESS_TAG = "modelbook.process"

_TAGS_OF_OPEN_RUNS = """
    SELECT tags.run_uuid, tags.key, tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid
    WHERE runs.status = 'RUNNING' AND runs.lifecycle_stage = 'active' AND tags.key LIKE 'modelbook.%'
"""
_PROC = Path("/proc")
_AT_MOST = 100
_GONE = frozenset("ZXx")  # a zombie has ended, and waits for its parent to notice


def process_tags(config: Config) -> dict[str, str]:
    """Return what a run carries of the process that writes it; nothing where that cannot be told for certain.

    Example:
        >>> from modelbook.config import load_config
        >>> tags = process_tags(load_config({}))
        >>> not tags or tags["modelbook.process"].startswith(f"{os.getpid()} ")
        True
    """
    boot, process = _boot(), _process(os.getpid())
    if not boot or not process:
        return {}
    return {
        HOST_TAG: platform.node(),
        BOOT_TAG: boot,
        PROJECT_TAG: _project(config.root),
        PROCESS_TAG: process,
    }


def close_abandoned(client: "MlflowClient", config: Config, *, moment: datetime) -> tuple[str, ...]:
    """Mark the runs of this project as `KILLED` that are open and whose process is gone; return their ids.

    What waits of a run in the outbox is going to close it, so such a run is left alone.

    Args:
        client: Of the tracking store.
        config: The project.
        moment: When they ended, as far as anybody knows.

    Raises:
        TrackingStoreError: The store cannot be used.
    """
    tags = process_tags(config)
    if not tags:
        return ()
    with store_errors(config.tracking_uri):
        found = _open_runs(client, tags)
        gone = [run.info.run_id for run in found if _is_abandoned(run.data.tags, config)]
        for run_id in gone:
            client.set_terminated(run_id, status="KILLED", end_time=int(moment.timestamp() * 1000))
    return tuple(gone)


def may_hold_abandoned(config: Config) -> bool:
    """Return whether a store may hold runs to be closed.

    SQLite is asked directly, in 2 ms; of another store the answer is yes where processes can be told apart.
    Importing MLflow for the question would take longer than all else that a run without work does.
    """
    path, tags = sqlite_path(config.tracking_uri), process_tags(config)
    if path is None or not tags:
        return bool(tags)
    if not path.is_file():
        return False
    try:
        with closing(read_only(path)) as database:
            rows = database.execute(_TAGS_OF_OPEN_RUNS).fetchall()
    except sqlite3.Error:
        return True
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for run_id, name, value in rows:
        found[run_id][name] = value
    own = {name: tags[name] for name in (HOST_TAG, BOOT_TAG, PROJECT_TAG)}
    return any(own.items() <= run.items() and _is_abandoned(run, config) for run in found.values())


def _open_runs(client: "MlflowClient", tags: dict[str, str]) -> "Iterable[Run]":
    same = [f"tags.`{name}` = '{tags[name]}'" for name in (HOST_TAG, BOOT_TAG, PROJECT_TAG)]
    # Of any experiment: tracking.experiment may have changed since.
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(
        experiments, " and ".join(["attributes.status = 'RUNNING'", *same]), max_results=_AT_MOST
    )


def _is_abandoned(tags: Mapping[str, str], config: Config) -> bool:
    process = str(tags.get(PROCESS_TAG, ""))
    pid = process.partition(" ")[0]
    if not pid.isdecimal() or _process(int(pid)) == process:
        return False
    uid = tags.get(UID_TAG)
    return not (uid and outbox_of(config, uid).exists)


def _boot() -> str:
    """Return the kernel's id of this boot and of the space of its process ids: containers have their own."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process(pid: int) -> str:
    """Return a process's id and when it started, in ticks since boot: a reused id starts at another time."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in _GONE else f"{pid} {fields[18]}"


def _project(root: Path) -> str:
    """Return what tells a project's folder from others as long as a machine runs: a copy has another one.

    Not its path: a folder that was moved is the same project, and another may have come to its place.
    """
    status = root.stat()
    return f"{status.st_dev}:{status.st_ino}"
