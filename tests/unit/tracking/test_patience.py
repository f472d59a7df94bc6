"""Calls of a store that answers late, or never."""

import threading
import time
from types import SimpleNamespace

import pytest

from modelbook.errors import StoreAwayError
from modelbook.tracking.patience import PatientClient, within


@pytest.fixture
def gate():
    """Return an event that lets go of every call left behind when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def client_of(*, is_answering=True, **methods):
    return PatientClient(SimpleNamespace(**methods), limit_s=0.2, is_answering=lambda: is_answering)


def test_an_answer_comes_through():
    """What a call returns or raises comes back; what is no call is passed on."""

    def fail():
        raise KeyError("no such thing")

    client = client_of(add=lambda a, *, name: a + name, fail=fail, uri="sqlite://")
    assert client.add(1, name=2) == 3
    assert client.uri == "sqlite://"
    with pytest.raises(KeyError):
        client.fail()


def test_an_error_of_time_is_the_calls_own():
    """A TimeoutError that a call itself raises is not taken for its lateness."""

    def fail():
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        client_of(fail=fail).fail()


def test_a_late_call_is_left_behind(gate):
    """A call that does not answer is given up in time, whatever the store says of its health."""
    began = time.monotonic()
    with pytest.raises(StoreAwayError, match="in time"):
        client_of(log_batch=gate.wait).log_batch()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(("is_answering", "is_late"), [(True, False), (False, True)])
def test_an_upload_may_take_longer(gate, tmp_path, *, is_answering, is_late):
    """An upload goes on by its size for as long as the store answers, and no longer."""
    with (tmp_path / "model").open("wb") as file:
        file.truncate(40_000_000)

    def upload(_run_id, _path):
        return gate.wait(0.6)

    client = client_of(log_artifact=upload, is_answering=is_answering)
    if is_late:
        with pytest.raises(StoreAwayError):
            client.log_artifact("run", str(tmp_path / "model"))
    else:
        assert client.log_artifact("run", str(tmp_path / "model")) is False


def test_the_longer_time_ends_too(gate):
    """However healthy the store, what is allowed in all is the end of it."""
    began = time.monotonic()
    with pytest.raises(StoreAwayError):
        within(gate.wait, limit_s=0.1, longer_s=0.3, is_answering=lambda: True)
    assert time.monotonic() - began < 3
