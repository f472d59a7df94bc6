"""Lines of requests: written aside, and counted where they cannot be."""

import io

import orjson
import pytest

from modelbook.serving.accesslog import AccessLog


class Full(io.StringIO):
    """A stream whose disk is full."""

    def write(self, _):
        """Fail as a full disk does."""
        raise OSError(28, "No space left on device")


def test_a_line_for_each_request():
    """What is added before the end is written by then, in order."""
    stream = io.StringIO()
    log = AccessLog(stream)
    log.start()
    for status in (200, 503):
        log.add({"status": status})
    log.end()
    assert [orjson.loads(line)["status"] for line in stream.getvalue().splitlines()] == [200, 503]


def test_lines_of_a_full_disk_are_counted():
    """What cannot be written is told, and nothing is raised."""
    dropped = []
    log = AccessLog(Full(), on_dropped=dropped.append)
    log.add({"status": 200})
    log.add({"status": 200})
    log.start()
    log.end()
    assert dropped == [2]


def test_lines_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch):
    """While nobody writes there is no more waiting than fits."""
    monkeypatch.setattr("modelbook.serving.accesslog._MOST_WAITING", 1)
    dropped = []
    log = AccessLog(io.StringIO(), on_dropped=dropped.append)
    log.add({"status": 200})
    log.add({"status": 200})
    assert dropped == [1]
