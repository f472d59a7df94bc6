"""A model's own code in processes of its own."""

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from modelbook.errors import DataInvalidError, ModelbookError
from modelbook.serving import pool as pooling
from modelbook.serving.pool import PooledRuntime, TooLongError

APART = """
import os, sys, time
import numpy as np
from modelbook.errors import DataInvalidError, ModelbookError
from modelbook.serving import apart, runtime
from modelbook.serving.answers import Answer

class Strange:
    def __reduce__(self):
        return int, ("no number",)

class Model:
    def predict(self, rows, *, with_probabilities):
        code = rows["code"][0]
        if code == "sleep":
            time.sleep(60)
        if code == "exit":
            os._exit(3)
        if code == "rows":
            raise DataInvalidError("no such rows", got="ValueError")
        if code == "fail":
            raise ZeroDivisionError("s3cret")
        if code == "strange":
            return Answer(Strange(), None)
        print("said by the model")
        return Answer(np.array([float(os.getpid())]), None)

runtime.open_runtime = lambda folder: Model()
apart.main()
"""


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """Return a function that opens a pool whose model sleeps, fails or ends as its row says."""
    (tmp_path / "played.py").write_text(APART)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(pooling, "_MODULE", "played")
    monkeypatch.setattr(pooling, "read_golden", lambda _: None)
    opened = []

    def start(processes=1):
        manifest = type("Manifest", (), {"record": None, "columns": (), "has_probabilities": False})()
        opened.append(PooledRuntime(tmp_path, manifest, processes=processes))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def ask(pool, code="well", within_s=None):
    rows = {"code": np.array([code], dtype=object)}
    if within_s is None:
        return int(pool.predict(rows).predictions[0])
    return int(pool.predict_until(time.monotonic() + within_s, rows).predictions[0])


def test_rows_are_answered_elsewhere(pool) -> None:
    """The process that answers is another one, and always the same."""
    opened = pool()
    assert {ask(opened) for _ in range(5)} == {ask(opened)} - {os.getpid()}


def test_what_takes_too_long_is_ended_and_replaced(pool) -> None:
    """The time is kept, nothing is left running, and the next request is answered."""
    opened = pool()
    former = ask(opened)
    start = time.monotonic()
    with pytest.raises(TooLongError):
        ask(opened, "sleep", within_s=0.3)
    assert 0.3 <= time.monotonic() - start < 0.8
    with pytest.raises(ProcessLookupError):
        os.kill(former, 0)
    assert ask(opened) != former


def test_who_waits_in_vain_is_told_in_time(pool) -> None:
    """While every process is at work, others wait no longer than their time."""
    opened = pool()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(ask, opened, "sleep", 1.0)
        time.sleep(0.2)
        start = time.monotonic()
        with pytest.raises(TooLongError):
            ask(opened, within_s=0.2)
        assert time.monotonic() - start < 0.5
        with pytest.raises(TooLongError):
            slow.result()


@pytest.mark.parametrize(
    ("code", "error", "what"),
    [
        ("rows", DataInvalidError, "no such rows"),
        ("fail", ModelbookError, "the model failed on the rows"),
        ("exit", ModelbookError, "the process of the model ended"),
    ],
)
def test_an_error_of_the_model_is_one_here(pool, code, *, error, what) -> None:
    """Errors come over as what they are, without the words of others, and the next request goes well."""
    opened = pool()
    with pytest.raises(error, match=what) as caught:
        ask(opened, code)
    assert "s3cret" not in str(caught.value)
    assert ask(opened)


def test_a_killed_process_is_replaced(pool) -> None:
    """Who kills a process that has nothing to do costs nobody an answer."""
    opened = pool()
    former = ask(opened)
    os.kill(former, signal.SIGKILL)
    os.waitid(os.P_PID, former, os.WEXITED | os.WNOWAIT)
    assert ask(opened, within_s=20) != former


def test_an_answer_that_cannot_be_read_loses_no_process(pool) -> None:
    """Whatever goes wrong with an answer, the next request has a process."""
    opened = pool()
    with pytest.raises(ValueError, match="invalid literal"):
        ask(opened, "strange")
    assert ask(opened, within_s=10)


def test_a_stopped_process_is_ended_in_time(pool) -> None:
    """One that reads nothing holds nobody, however many rows wait to be sent."""
    opened = pool()
    former = ask(opened)
    os.kill(former, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask, opened, "long" * 1_000_000, 0.3)
        try:
            with pytest.raises(TooLongError):
                asked.result(5)
        finally:
            with suppress(ProcessLookupError):
                os.kill(former, signal.SIGKILL)
    assert ask(opened, within_s=10) != former


@pytest.fixture
def starts(monkeypatch):
    """Return the processes that were started, and the numbers of those whose start is to fail."""
    start, started, failing = subprocess.Popen, [], set()

    def popen(*args, **kwargs):
        started.append(None)
        if len(started) in failing:
            raise OSError(11, "no more processes")
        started[-1] = start(*args, **kwargs)
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    return started, failing


def test_a_process_that_cannot_be_started_is_tried_again(pool, starts, monkeypatch) -> None:
    """A machine without a place for one more process has one later."""
    monkeypatch.setattr(pooling, "_RETRY_S", 0.1)
    opened = pool()
    starts[1].add(2)
    with pytest.raises(ModelbookError, match="ended"):
        ask(opened, "exit")
    assert ask(opened, within_s=10)


def test_a_pool_that_cannot_be_opened_leaves_no_process(pool, starts) -> None:
    """Where the second process cannot be started the first one is ended."""
    started, failing = starts
    failing.add(2)
    with pytest.raises(ModelbookError, match="starts no further process"):
        pool(processes=2)
    assert started[0].returncode is not None


def test_processes_answer_side_by_side(pool) -> None:
    """There are as many as were wanted."""
    opened = pool(processes=2)
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(ask, opened, "sleep", 1.0)
        time.sleep(0.1)
        assert ask(opened, within_s=0.5)
        with pytest.raises(TooLongError):
            slow.result()


def test_a_closed_pool_leaves_no_process(pool) -> None:
    """Nothing is left of a version that was replaced, also where a request was under way."""
    opened = pool(processes=2)
    pids = {ask(opened)}
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(ask, opened, "sleep", 0.5)
        time.sleep(0.1)
        opened.close()
        with pytest.raises(TooLongError):
            slow.result()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_pool_that_is_closed_at_once_waits_for_nobody(pool) -> None:
    """A server that ends takes with it what is under way, whatever holds that up."""
    opened = pool()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(ask, opened, "sleep", 60)
        while not opened._at_work:
            time.sleep(0.01)
        opened.close(is_at_once=True)
        with pytest.raises(ModelbookError, match="ended"):
            slow.result(10)


def test_a_model_that_cannot_be_opened_is_refused(tmp_path, monkeypatch) -> None:
    """What the process says is what is raised here."""
    monkeypatch.setattr(pooling, "read_golden", lambda _: None)
    manifest = type("Manifest", (), {"record": None, "columns": (), "has_probabilities": False})()
    with pytest.raises(ModelbookError, match="there is no bundle of a model"):
        PooledRuntime(tmp_path, manifest, processes=1)
