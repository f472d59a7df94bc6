"""A server that leaves well: it says so first, answers whom it has, and is gone within ten seconds."""

import asyncio
import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.process import BaseProcess
from types import FrameType

from modelbook.serving.current import Current

DRAIN_S = 1.0
GRACE_S = 7.0

_GONE_AFTER_S = 9.0
_EXIT_TERMINATED = 143
_LOOK_EVERY_S = 1.0
_HUNG_S = 600.0
_STDERR = 2


def leave_well(current: Current, *, drain_s: float = DRAIN_S) -> None:
    """Let SIGTERM and SIGHUP take a while: the server first says that it is not ready, and answers on.

    Whoever sends it requests can then turn to another one before it closes its door. Called in the main
    thread of the event loop, after the web server has set its own handler, which is called in the end. What
    hangs beyond all of that, such as a prediction that nobody can stop, ends with the process.

    Args:
        current: What the server says of itself.
        drain_s: How long it answers on before it takes no more connections.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    close = signal.getsignal(signal.SIGTERM)

    def leave(number: int, frame: FrameType | None) -> None:
        if current.is_stopping or not callable(close):
            return
        current.is_stopping = True
        guard = threading.Timer(_GONE_AFTER_S, os._exit, (_EXIT_TERMINATED,))
        guard.daemon = True
        guard.start()
        loop.call_soon_threadsafe(loop.call_later, drain_s, close, number, frame)

    signal.signal(signal.SIGTERM, leave)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, leave)


def leave_with_parent() -> None:
    """Let a worker leave when the process that watches over it is gone, so that nobody holds the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_await, args=(parent,), name="modelbook-parent", daemon=True).start()


def end_with_parent() -> None:
    """Let a process end when the one that started it is gone: nobody waits for what it does.

    It ends at once. Where its code holds the interpreter, so that no thread can look, the C thread of
    `faulthandler` ends it after ten minutes, which nothing that is asked of it takes. The kernel could do so
    at once (PR_SET_PDEATHSIG), but takes the end of the thread that started a process for that of its parent.
    """
    threading.Thread(target=_end_with, args=(os.getppid(),), name="modelbook-parent", daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        faulthandler.dump_traceback_later(_HUNG_S, exit=True, file=_STDERR)
        time.sleep(_LOOK_EVERY_S)
    os._exit(_EXIT_TERMINATED)


def _await(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
