import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelbook.config import Config, load_config
from modelbook.errors import ProjectBusyError, StorageError
from modelbook.pipeline.lock import hold_project

HOLDING = """
import sys
from modelbook.config import load_config
from modelbook.pipeline.lock import hold_project
with hold_project(load_config({}), command="modelbook run --force"):
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    return load_config({})


@contextmanager
def another_run(config: Config) -> Iterator["subprocess.Popen[bytes]"]:
    """Let another process hold the project."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], cwd=config.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_one_at_a_time(config: Config):
    """Who comes second is told who holds the project and what to do, with exit code 9."""
    with another_run(config) as process:
        with pytest.raises(ProjectBusyError) as caught, hold_project(config, command="modelbook run"):
            pytest.fail("two runs hold the project")
        assert caught.value.exit_code == 9
        assert caught.value.where == str(config.root)
        assert caught.value.got == f"pid {process.pid}: modelbook run --force"
        assert "--wait" in (caught.value.hint or "")
    with hold_project(config, command="modelbook run"):
        assert (config.root / "logs/run.holder").read_text() == f"pid {os.getpid()}: modelbook run"
    assert not (config.root / "logs/run.holder").exists()


def test_the_same_process_is_no_exception(config: Config):
    """A run within a run is refused too."""
    with (
        hold_project(config, command="outer"),
        pytest.raises(ProjectBusyError, match="outer"),
        hold_project(config, command="inner"),
    ):
        pytest.fail("two runs hold the project")


def test_a_killed_run_holds_nothing(config: Config):
    """The lock ends with its process, however that ends."""
    with another_run(config) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with hold_project(config, command="modelbook run"):
            pass


def test_a_failed_run_holds_nothing(config: Config):
    """An exception lets the project go."""

    def fail() -> None:
        with hold_project(config, command="modelbook run"):
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()


def test_waiting(config: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Who waits says for whom, and gets the project once it is free."""
    monkeypatch.setattr(logging.getLogger("modelbook"), "propagate", True)
    with another_run(config) as process, caplog.at_level(logging.INFO):
        assert process.stdin is not None
        threading.Timer(0.3, process.stdin.close).start()
        with hold_project(config, command="modelbook run --wait", is_waiting=True):
            assert process.wait() == 0
    assert caplog.messages == [
        f"waiting for the run that holds the project: pid {process.pid}: modelbook run --force"
    ]


def test_a_holder_that_said_nothing(config: Config):
    """Between taking the lock and saying so a holder is held for unnamed."""
    with hold_project(config, command="outer"):
        (config.root / "logs/run.holder").unlink()
        with pytest.raises(ProjectBusyError) as caught, hold_project(config, command="inner"):
            pytest.fail("two runs hold the project")
    assert caught.value.got == "it did not say which"


def test_no_place_for_a_lock(config: Config):
    """Where the lock cannot be made, a StorageError says so."""
    (config.root / "logs").touch()
    with pytest.raises(StorageError), hold_project(config, command="modelbook run"):
        pytest.fail("there is no lock")
