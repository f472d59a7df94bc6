"""Counts of several processes."""

import os
import subprocess
import sys

import pytest

from modelbook.serving import telemetry

WORKER = """
import os, sys
from modelbook.serving.current import Current, Serving
from modelbook.serving.telemetry import Telemetry

class Model:
    kind = "compiled"

current = Current()
current.swap(Serving(Model(), "houses", sys.argv[1]))
telemetry = Telemetry(current)
telemetry.answered("/invocations", 200, seconds=0.001)
telemetry.predicted(3)
sys.stdout.write(telemetry.page().decode())
sys.stdout.flush()
os._exit(9)
"""


def ask(folder, version: str) -> str:
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    words = [sys.executable, "-c", WORKER, version]
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=False).stdout


def test_any_worker_tells_the_counts_of_all(tmp_path) -> None:
    """What a worker counted stays when it is gone; what it held does not."""
    assert 'modelbook_requests_total{path="/invocations",status="200"} 1.0' in ask(tmp_path, "1")
    page = ask(tmp_path, "2")
    assert 'modelbook_requests_total{path="/invocations",status="200"} 2.0' in page
    assert "modelbook_request_rows_sum 6.0" in page
    assert 'modelbook_model_workers{kind="compiled",name="houses",version="2"} 1.0' in page
    assert 'version="1"' not in page


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_a_gauge_of_a_process_that_is_no_worker_is_removed(tmp_path, monkeypatch, error) -> None:
    """The number of a worker that is gone may be that of somebody else's process by now."""

    def kill(*_words) -> None:
        raise error

    monkeypatch.setattr(telemetry.os, "kill", kill)
    (tmp_path / "gauge_livesum_7.db").touch()
    telemetry._forget_dead(tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_worker_may_be_quicker(tmp_path, monkeypatch) -> None:
    """Two that are asked at once forget the same process."""

    def gone(*_words) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(telemetry, "mark_process_dead", gone)
    (tmp_path / f"gauge_livesum_{2**22 + 1}.db").touch()
    telemetry._forget_dead(tmp_path)
