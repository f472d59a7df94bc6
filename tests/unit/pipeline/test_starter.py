"""A stage ends with the DVC that started it: processes that are started, killed and looked for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = """\
import os, signal, time
from modelbook.pipeline import starter
starter._GRACE_S = 0.3
signal.signal(signal.SIGTERM, {handler})
starter.end_with_starter()
print(os.getpid(), flush=True)
time.sleep(30)
"""
STARTER = """\
import subprocess, sys
subprocess.Popen(sys.argv[1:])
sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def ends_within(pid: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


@pytest.fixture
def start(tmp_path: Path):
    """Return a function that starts a process as DVC starts a stage; it returns the starter and the id."""
    started = []

    def begin(
        *shell: str, handler: str = "signal.SIG_DFL", stage: str = "train"
    ) -> tuple[subprocess.Popen[bytes], int]:
        script = tmp_path / "child.py"
        script.write_text(CHILD.format(handler=handler))
        words = [*shell, f"{sys.executable} {script}"] if shell else [sys.executable, str(script)]
        process = subprocess.Popen(
            [sys.executable, "-c", STARTER, *words],
            env=os.environ | ({"DVC_STAGE": stage} if stage else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        child = int(process.stdout.readline())
        started.append((process, child))
        return process, child

    yield begin
    for process, child in started:
        if is_running(child):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()  # until nobody holds its output any more


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
@pytest.mark.parametrize("shell", [(), ("/bin/sh", "-c"), ("/bin/bash", "-c")], ids=["none", "sh", "bash"])
@pytest.mark.parametrize("handler", ["signal.SIG_DFL", "signal.SIG_IGN"], ids=["ends", "does not listen"])
def test_it_ends_with_its_starter(start, shell: tuple[str, ...], handler: str):
    """After kill -9 of the starter the process ends, a shell between them or not, if need be by force."""
    starter, child = start(*shell, handler=handler)
    assert not ends_within(child, 0.2)
    starter.kill()
    assert ends_within(child, 5)


def test_it_closes_what_is_open(start, tmp_path: Path):
    """It is asked to terminate first, which a command takes as a reason to tidy up."""
    starter, child = start(handler="lambda *_: (open(__file__ + '.tidied', 'w').close(), os._exit(0))")
    starter.kill()
    assert ends_within(child, 5)
    assert (tmp_path / "child.py.tidied").exists()


def test_a_process_that_dvc_did_not_start(start):
    """A process that was started by hand goes on without its starter."""
    starter, child = start(stage="")
    starter.kill()
    assert not ends_within(child, 1)
