"""A server: its address, which is one server's at a time, and what it leaves behind."""

import asyncio
from types import SimpleNamespace

import pytest

from modelbook.errors import UsageError
from modelbook.serving import server
from modelbook.serving.current import Current, Serving
from modelbook.serving.server import Following, _bound, _listen


def test_the_second_of_two_servers_is_refused():
    """Two may bind one address before either listens; whichever listens second is told that it is taken."""
    with _bound("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with _bound("127.0.0.1", port) as second:
            _listen(first)
            with pytest.raises(UsageError, match="cannot listen there") as raised:
                _listen(second)
    assert (raised.value.where, raised.value.got) == (f"127.0.0.1, port {port}", "Address already in use")


def test_a_server_that_ends_leaves_no_process_of_its_model(monkeypatch):
    """What answered last is closed with the application, as versions before it were."""
    closed = []
    monkeypatch.setattr(server, "close_runtime", lambda runtime, **how: closed.append((runtime, how)))
    monkeypatch.setattr(server, "leave_well", lambda _: None)
    current = Current()
    current.swap(Serving("the runtime", "houses", "3"))

    async def app(*_):
        assert not closed

    follower = SimpleNamespace(look=lambda: None, start=lambda: None, stop=lambda: None)
    asyncio.run(Following(app, current, follower)({"type": "lifespan"}, None, None))
    assert closed == [("the runtime", {"is_at_once": True})]
