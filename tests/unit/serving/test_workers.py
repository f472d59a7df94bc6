import signal

import pytest
import uvicorn
from uvicorn.supervisors.multiprocess import SIGNALS

from modelbook.serving.workers import Workers


@pytest.fixture
def workers():
    """Return a function that makes what watches over two workers, none of which is begun."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may be run under nohup
    yield lambda: Workers(uvicorn.Config("none:app", workers=2, log_config=None), [])
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_they_are_told_to_end(workers, number):
    """A terminal that is closed ends them as whoever stops them does; none is begun anew."""
    watching = workers()
    signal.raise_signal(number)
    watching.handle_signals()
    assert watching.should_exit.is_set()


def test_a_terminal_that_is_closed_may_mean_nothing(workers):
    """Under `nohup` they go on."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    watching = workers()
    signal.raise_signal(signal.SIGHUP)
    watching.handle_signals()
    assert not watching.should_exit.is_set()
