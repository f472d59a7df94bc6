"""The address of a server: one server's at a time."""

import pytest

from modelbook.errors import UsageError
from modelbook.serving.server import _bound, _listen


def test_the_second_of_two_servers_is_refused():
    """Two may bind one address before either listens; whichever listens second is told that it is taken."""
    with _bound("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with _bound("127.0.0.1", port) as second:
            _listen(first)
            with pytest.raises(UsageError, match="cannot listen there") as raised:
                _listen(second)
    assert (raised.value.where, raised.value.got) == (f"127.0.0.1, port {port}", "Address already in use")
