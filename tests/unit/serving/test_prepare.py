import threading

import pytest

from modelbook.config import load_config
from modelbook.errors import ModelbookError, NotFoundError, StoreAwayError
from modelbook.registry.shelf import Shelf
from modelbook.registry.wanted import Wanted
from modelbook.serving import making
from modelbook.serving import prepare as room
from modelbook.serving.making import Order, Outcome
from modelbook.serving.prepare import prepare

DIGEST = "ab" * 32
WANTED = Wanted("houses", "3", DIGEST)


@pytest.fixture
def config(tmp_path):
    return load_config({"training": {"enable_mlflow": False}}).at(tmp_path)


@pytest.fixture
def ended(monkeypatch):
    """Let the process that makes bundles end as a test wants it."""

    def end(outcome, code=0):
        answer = outcome.to_bytes() if isinstance(outcome, Outcome) else outcome
        monkeypatch.setattr(room, "_run", lambda *_: (code, answer))

    return end


def test_what_is_there_is_not_made(config, ended):
    """A bundle that lies on the shelf is taken from there, unless it is wanted anew."""
    Shelf(config).bundle(DIGEST).mkdir(parents=True)
    ended(b"", 1)
    assert prepare(config, WANTED) == DIGEST
    with pytest.raises(ModelbookError):
        prepare(config, WANTED, is_anew=True)


def test_several_want_it_and_one_makes_it(config, monkeypatch):
    """Of several that want a bundle at once one makes it, and the others wait for it."""
    made = []

    def run(*_):
        made.append(1)
        Shelf(config).bundle(DIGEST).mkdir(parents=True)
        return 0, Outcome(digest=DIGEST).to_bytes()

    monkeypatch.setattr(room, "_run", run)
    threads = [threading.Thread(target=prepare, args=(config, WANTED)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


@pytest.mark.parametrize("kind", [NotFoundError, StoreAwayError, ModelbookError])
def test_an_error_of_the_process_is_one_of_ours(config, ended, kind):
    """What went wrong in the process is raised as it was there."""
    error = kind("it failed", where="houses/3", got="this", expected="that", hint="try again")
    ended(Outcome(error=error.as_dict()))
    with pytest.raises(kind) as raised:
        prepare(config, WANTED)
    assert type(raised.value) is kind
    assert raised.value.as_dict() == error.as_dict()


@pytest.mark.parametrize(("code", "got"), [(-9, "signal 9"), (1, "exit code 1"), (0, "exit code 0")])
def test_a_process_that_says_nothing(config, ended, *, code, got):
    """A process that was killed, or broke down, leaves no bundle and an error that says how it ended."""
    ended(b"Killed", code)
    with pytest.raises(ModelbookError, match="ended without an answer") as raised:
        prepare(config, WANTED)
    assert raised.value.got == got


def test_its_warnings_are_heard(config, ended, caplog):
    """What deserves a look in the process is said by the server."""
    ended(Outcome(digest=DIGEST, warnings=("the model is served with its own code: why",)))
    assert prepare(config, WANTED) == DIGEST
    assert caplog.messages == ["the model is served with its own code: why"]


def test_a_process_that_takes_too_long(config):
    """Past its time the process is killed."""
    with pytest.raises(ModelbookError) as raised:
        prepare(config, WANTED, limit_s=0.05)
    assert raised.value.got == "signal 9"


def test_an_error_that_nobody_foresaw(monkeypatch, capfd):
    """Of such an error its kind is told and nothing else: its text and its traceback may quote rows."""

    def make(*_):
        raise ValueError("could not convert 'Ann'")

    monkeypatch.setattr(making, "make", make)
    order = Order(settings={}, root=".", name="houses", version="3", digest=None)
    error = making.carry_out(order).error
    assert (error["got"], error["where"]) == ("ValueError", "houses/3")
    assert "Ann" not in str(error) + "".join(capfd.readouterr())


def test_a_real_process(config):
    """The process looks in the project's registry, and says that there is no such model."""
    with pytest.raises(NotFoundError, match="there is no such model"):
        prepare(config, WANTED)
