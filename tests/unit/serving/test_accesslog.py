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


def test_no_line_is_broken_up():
    """Workers share a pipe: each write is of whole lines, and no longer than a pipe takes in one."""
    written = []
    stream = io.StringIO()
    stream.write = written.append
    log = AccessLog(stream)
    for number in range(100):
        log.add({"status": number, "path": "ü" * 50})
    log.add({"status": 100, "path": "x" * 5000})
    log.start()
    log.end()
    assert [orjson.loads(line)["status"] for line in "".join(written).splitlines()] == [*range(101)]
    assert all(piece.endswith("\n") for piece in written)
    *pieces, _ = written
    assert 1 < len(pieces) < 10
    assert all(len(piece.encode()) <= 4096 for piece in pieces)
