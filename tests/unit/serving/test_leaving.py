import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelbook.serving.current import Current
from modelbook.serving.leaving import leave_well

CHILD = (
    "import itertools, time; from modelbook.serving import leaving;"
    "leaving._HUNG_S = 2; leaving.end_with_parent(); print(1, flush=True);"
)
PARENT = (
    "import subprocess, sys;"
    "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE);"
    "child.stdout.read(1); print(child.pid, flush=True); child.wait()"
)


@pytest.fixture
def closed():
    """When the web server's own handler of SIGTERM was called."""
    closed = []
    terminate = signal.signal(signal.SIGTERM, lambda *_: closed.append(time.monotonic()))
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may be run under nohup
    yield closed
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGHUP, hang_up)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_server_says_that_it_leaves_before_it_does(closed, monkeypatch, number):
    """On either signal it is not ready at once; the web server closes a while later, and once."""
    monkeypatch.setattr("modelbook.serving.leaving._GONE_AFTER_S", 3600)
    current = Current()

    async def live():
        leave_well(current, drain_s=0.5)
        begun = time.monotonic()
        for _ in range(2):
            os.kill(os.getpid(), number)
        await asyncio.sleep(0.01)
        assert current.is_stopping
        assert not closed
        await asyncio.sleep(1.0)
        return begun

    begun = asyncio.run(live())
    assert len(closed) == 1
    assert closed[0] - begun > 0.45


def test_a_terminal_that_is_closed_may_mean_nothing(closed):
    """Under `nohup` a server goes on."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    current = Current()

    async def live():
        leave_well(current)
        os.kill(os.getpid(), signal.SIGHUP)

    asyncio.run(live())
    assert (current.is_stopping, closed) == (False, [])


@pytest.mark.parametrize("work", ["time.sleep(60)", "time.sleep(0.2); sum(itertools.repeat(0))"])
def test_a_process_ends_with_the_one_that_started_it(work):
    """Where whoever started a process is killed it ends, also where its code holds the interpreter."""
    words = [sys.executable, "-c", PARENT, f"{CHILD} {work}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(child)


def is_alive(pid):
    """Return whether a process runs; one that nobody has taken leave of does not."""
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"
