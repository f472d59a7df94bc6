"""A stage that DVC started ends when that DVC does, so that a killed `dvc repro` leaves nothing at work."""

import os
import select
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_STARTED_BY_DVC = "DVC_STAGE"
_SHELLS = frozenset({"ash", "bash", "busybox", "dash", "fish", "ksh", "sh", "zsh"})
_LOOK_EVERY_S = 1.0
_GRACE_S = 1.0


def end_with_starter() -> None:
    """See to it that this process ends soon after the DVC that started it; others are left alone.

    It is asked to terminate first, so that an open run is closed as killed; where it does not get round to
    that within a second, as in a library's own code, it is killed. Outside Linux a shell between the two is
    taken for DVC itself.
    """
    if _STARTED_BY_DVC in os.environ:
        threading.Thread(target=_follow, name="starter", daemon=True).start()


def _follow() -> None:
    with suppress(ProcessLookupError):
        _wait_for(os.getppid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for(parent: int) -> None:
    """Return when a parent has ended or, where it is a shell that DVC runs the command in, DVC itself has."""
    shell = _process(parent)
    pids = [parent, shell.parent] if shell is not None and shell.name in _SHELLS else [parent]
    # DVC starts a stage in its own session: whoever takes an orphan on is in another one.
    if any(os.getsid(pid) != os.getsid(0) for pid in pids):
        return
    if not hasattr(os, "pidfd_open"):
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_S)
        return
    handles = [os.pidfd_open(pid) for pid in pids]
    if os.getppid() == parent and _process(parent) == shell:  # else a handle may be another process's
        select.select(handles, [], [])


class _Process(NamedTuple):
    name: str
    parent: int


def _process(pid: int) -> _Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    head, _, tail = stat.rpartition(")")
    return _Process(head.partition("(")[2], int(tail.split()[1]))
