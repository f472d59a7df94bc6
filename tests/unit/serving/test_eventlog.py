import io
import logging
import subprocess
import sys

import orjson
import pytest

from modelbook.serving.eventlog import EventLog, write_events

TALKER = """
import logging, signal, sys
signal.alarm(10)
from modelbook.serving.eventlog import write_events
write_events(sys.stderr)
for _ in range(5000):
    logging.getLogger("modelbook.serve").info("said in vain, again and again")
print("said", flush=True)
"""


@pytest.fixture(autouse=True)
def loggers():
    """Give the loggers back what they had."""
    found = [logging.getLogger(name) for name in ("modelbook", "uvicorn.error")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in found]
    yield
    for logger, (handlers, propagate, level) in zip(found, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def end():
    """Let what was said be written."""
    for handler in logging.getLogger("modelbook").handlers:
        handler.close()


def test_each_message_is_a_line():
    """What a server says is JSON, whatever it holds, from this project's loggers and the web server's."""
    stream = io.StringIO()
    write_events(stream)
    logging.getLogger("modelbook.serve").info('two\nlines and a "quote"')
    logging.getLogger("uvicorn.error").warning("%d connections", 3)
    end()
    first, second = map(orjson.loads, stream.getvalue().splitlines())
    assert first["message"] == 'two\nlines and a "quote"'
    assert (second["level"], second["source"], second["message"]) == (
        "warning",
        "uvicorn.error",
        "3 connections",
    )
    assert first["time"].endswith("Z")


def test_a_level_that_was_asked_for_stays():
    """Where only warnings were asked for, nothing else is written."""
    logging.getLogger("modelbook").setLevel(logging.WARNING)
    stream = io.StringIO()
    write_events(stream)
    logging.getLogger("modelbook.serve").info("3 answers now")
    end()
    assert stream.getvalue() == ""


def test_a_reader_that_is_gone_stops_nothing():
    """A stream that was closed is no reason to stop answering."""
    stream = io.StringIO()
    stream.close()
    log = EventLog(stream)
    log.emit(logging.LogRecord("modelbook", logging.INFO, "", 0, "unheard", (), None))
    log.close()


def test_a_reader_that_stops_reading_stops_nothing():
    """Whoever has messages goes on when the pipe is full, and ends when it wants to."""
    talker = [sys.executable, "-c", TALKER]
    with subprocess.Popen(talker, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"said\n"
            assert process.wait(10) == 0
        finally:
            process.kill()
