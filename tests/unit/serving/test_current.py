import threading
from datetime import UTC, datetime

import pytest

from modelbook.errors import NotReadyError
from modelbook.serving.current import Current, Serving

MOMENT = datetime(2026, 11, 22, tzinfo=UTC)


def version(number):
    return Serving(runtime=None, name="houses", version=number)


@pytest.fixture
def ended():
    """The versions that were replaced and have ended their requests."""
    return []


@pytest.fixture
def current(ended):
    return Current(
        alias="production", on_ended=lambda serving: ended.append(serving.version), clock=lambda: MOMENT
    )


def test_nothing_answers_before_the_first_model(current):
    """Before there is a model, a server is not ready, and a lease says why if anybody knows."""
    current.problem = "the store is away"
    assert (current.is_ready, current.serving, current.since) == (False, None, None)
    with pytest.raises(NotReadyError) as raised, current.lease():
        pass
    assert raised.value.got == "the store is away"


def test_requests_under_way_keep_their_version(current, ended):
    """A request ends on the version that it began on, and the version ends with the last such request."""
    current.swap(version("1"))
    first, second = current.lease(), current.lease()
    with first as one:
        with second as two:
            current.swap(version("2"))
            with current.lease() as new:
                assert (one.version, two.version, new.version) == ("1", "1", "2")
        assert ended == []
    assert ended == ["1"]


def test_a_version_without_requests_ends_at_once(current, ended):
    """What nobody holds ends as soon as it is replaced, and the first one replaces nothing."""
    current.swap(version("1"))
    assert (current.swaps, ended, current.since) == (0, [], MOMENT)
    current.swap(version("2"))
    assert (current.swaps, ended, current.serving.version) == (1, ["1"], "2")


def test_a_request_that_fails_lets_go(current, ended):
    """An exception ends a request as an answer does."""
    current.swap(version("1"))
    with pytest.raises(ZeroDivisionError), current.lease():
        raise ZeroDivisionError
    current.swap(version("2"))
    assert ended == ["1"]


def test_a_stopping_server_answers_and_is_not_ready(current):
    """A server that is about to end answers whom it has, and tells the others to go elsewhere."""
    current.swap(version("1"))
    current.is_stopping = True
    assert not current.is_ready
    with current.lease() as serving:
        assert serving.version == "1"


def test_rejected_versions_are_counted(current):
    """A version that was not let in is counted, and the reason is kept."""
    current.reject("it predicts otherwise")
    current.reject("its file was changed")
    assert (current.rejected, current.problem) == (2, "its file was changed")


def test_every_version_ends_once_under_many_threads(current, ended):
    """Of versions swapped under requests of many threads each one ends once, and after its last request."""
    current.swap(version("0"))
    is_over = threading.Event()

    def ask():
        while not is_over.is_set():
            with current.lease() as serving:
                assert serving.version not in ended

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 200):
        current.swap(version(str(number)))
    is_over.set()
    for thread in threads:
        thread.join()
    assert sorted(map(int, ended)) == list(range(199))
