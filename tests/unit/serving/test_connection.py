"""Clients that dawdle, on real connections."""

import asyncio
import shutil
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn

from modelbook.config import Config
from modelbook.serving import connection
from modelbook.serving.app import make_app
from modelbook.serving.connection import CuttingProtocol
from modelbook.serving.current import Current, Serving

TIMEOUT_S = 0.4
HEAD = b"POST /invocations HTTP/1.1\r\nhost: localhost\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
BODY = b'{"instances":[{"rooms":1,"zone":"a"}]}'


@contextmanager
def listening(app):
    """Serve an application by uvicorn in a thread, and yield the port."""
    settings = uvicorn.Config(
        app, port=0, http=CuttingProtocol, lifespan="on", log_config=None, access_log=False
    )
    server = uvicorn.Server(settings)
    door = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[door])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield door.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        door.close()


@pytest.fixture(scope="module")
def port(make_runtime):
    """Return the port of a server that gives clients 0.4 s."""
    current = Current()
    current.swap(Serving(make_runtime(), "houses", "7"))
    settings = {"read_timeout_s": TIMEOUT_S, "max_body_mb": 20.0, "access_log": False}
    with listening(make_app(current, Config(serving=settings))) as port:
        yield port


def talk(port: int, *parts: bytes, pause_s: float = 0.0) -> tuple[bytes, float]:
    """Send parts with pauses between them; return what comes until the end, and how long it took."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        for part in parts:
            client.sendall(part)
            time.sleep(pause_s)
        answer = b""
        while chunk := _received(client):
            answer += chunk
    return answer, time.monotonic() - start


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(65_536)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("parts", [(), (b"GET /li",), (HEAD,)], ids=["silent", "line", "head"])
def test_a_head_that_does_not_end_is_cut(port, parts) -> None:
    """A client that does not finish its request is told so and cut."""
    answer, seconds = talk(port, *parts)
    assert answer.startswith(b"HTTP/1.1 408")
    assert TIMEOUT_S < seconds < 3


def test_a_head_that_trickles_is_cut(port) -> None:
    """Each byte does not begin the time anew."""
    with pytest.raises(ConnectionError):
        talk(port, HEAD, *[b"x"] * 40, pause_s=0.1)


@pytest.mark.parametrize(
    "length", [b"content-length: 100\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n5\r\n"]
)
def test_a_body_that_does_not_end_is_cut(port, length) -> None:
    """The answer says what took too long, and the connection ends."""
    answer, seconds = talk(port, HEAD + length + b"{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"REQUEST_TIMEOUT" in answer
    assert b"x-modelbook-version: 7" in answer
    assert seconds < 3


def test_a_body_that_does_not_begin_is_cut(port) -> None:
    """A client that promises a body and sends none of it is told so, too."""
    answer, seconds = talk(port, HEAD + b"content-length: 100\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 408")
    assert seconds < 3


def test_a_head_without_end_is_refused(port) -> None:
    """What a head may hold is bounded."""
    answer, _ = talk(port, HEAD + b"x-a: " + b"a" * 70_000)
    assert answer.startswith(b"HTTP/1.1 431")


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)


def test_what_follows_a_body_is_no_head(port) -> None:
    """Headers after the last chunk are not taken for those of the request."""
    answer, _ = talk(port, CHUNKED + b"x-request-id: late\r\n\r\nGET /")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"late" not in answer


def test_what_follows_a_body_has_an_end(port) -> None:
    """It is bounded as a head is, in one header or in many."""
    for more in (b"x-a: " + b"a" * 70_000, b"x-a: a\r\n" * 10_000):
        answer, _ = talk(port, CHUNKED, more, pause_s=0.05)
        assert answer.startswith(b"HTTP/1.1 431")


def test_a_body_is_no_part_of_the_next_head(port, monkeypatch) -> None:
    """A large body that comes together with the beginning of another request is answered."""
    monkeypatch.setattr(connection, "_HEAD_BYTES", 1_000)
    body = BODY + b" " * 3_000
    answer, _ = talk(port, HEAD + b"content-length: %d\r\n\r\n" % len(body) + body + b"GET /li")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 431" not in answer


def test_an_answer_that_is_not_taken_away_is_cut(make_runtime) -> None:
    """Who does not read holds no memory for long."""
    current = Current()
    current.swap(Serving(make_runtime(classes=("a" * 1000,)), "houses", "7"))
    app = make_app(current, Config(serving={"read_timeout_s": TIMEOUT_S, "access_log": False}))
    body = b'{"instances":[' + b",".join([BODY[14:-2]] * 20_000) + b"]}"
    with listening(app) as port, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        time.sleep(2)
        got = 0
        while chunk := _received(client):
            got += len(chunk)
    assert got < 20_000_000


def test_who_keeps_up_is_answered_again_and_again(port) -> None:
    """Requests within the time are not disturbed by looks at the connection."""
    request = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        for _ in range(10):
            client.sendall(request)
            time.sleep(0.1)
            assert client.recv(65_536).endswith(b'{"predictions":[2.0]}')


@contextmanager
def uploading(port: int, clients: int):
    """Have as many clients send two parts of a body and no more; yield them."""
    with ExitStack() as stack:
        found = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            for _ in range(clients)
        ]
        for part in (HEAD + b"content-length: 100\r\n\r\n", b"{"):
            time.sleep(0.05)
            for client in found:
                client.sendall(part)
        time.sleep(0.05)
        yield found


def test_who_dawdles_keeps_nobody_from_being_answered(make_runtime) -> None:
    """Bodies under way take no place of work; beyond their own number they are refused, small ones never."""
    current = Current()
    current.swap(Serving(make_runtime(), "houses", "7"))
    app = make_app(current, Config(serving={"max_in_flight": 1, "access_log": False}))
    request = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
    with listening(app) as port:
        with uploading(port, 5) as clients:
            assert talk(port, request)[0].startswith(b"HTTP/1.1 200")
            clients[-1].settimeout(1)
            assert _received(clients[-1]).startswith(b"HTTP/1.1 503")
            assert b"modelbook_requests_in_flight 0.0" in talk(port, METRICS)[0]
        with uploading(port, 4) as clients:
            for client in clients:
                client.sendall(BODY[1:] + b" " * (100 - len(BODY)))
                assert _received(client).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("kind", ["compiled", "reference"])
def test_who_goes_away_gives_back_what_was_lent(make_runtime, kind) -> None:
    """The version that answered a client that did not wait is let go, and its place of work is free again."""
    ended = []
    current = Current(on_ended=ended.append)
    slow = Serving(make_runtime(kind=kind, act=lambda: time.sleep(0.3)), "houses", "7")
    current.swap(slow)
    app = make_app(current, Config(serving={"max_in_flight": 1, "access_log": False}))
    body = b'{"instances":[' + b",".join([BODY[14:-2]] * 50) + b"]}"
    request = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    with listening(app) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(request)
            time.sleep(0.1)
        current.swap(Serving(make_runtime(), "houses", "8"))
        assert talk(port, request)[0].startswith(b"HTTP/1.1 503")
        assert ended == []
        time.sleep(0.4)
        assert talk(port, request)[0].startswith(b"HTTP/1.1 200")
        assert ended == [slow]


def test_a_body_beyond_the_limit_is_refused_before_it_is_there(port) -> None:
    """The length is enough to refuse it."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(HEAD + b"content-length: 20000001\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 413")
    assert time.monotonic() - start < 0.3


H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
LAST = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_who_offers_another_protocol_is_answered_in_this_one(port, pause_s) -> None:
    """The body belongs to its request, in the same packet or the next; so do the requests that follow."""
    head, body = HEAD + H2C + b"content-length: %d\r\n\r\n" % len(BODY), BODY
    answer, _ = talk(port, *([head, body] if pause_s else [head + body]), head + body, LAST, pause_s=pause_s)
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1 ") == 3
    assert answer.count(b'{"predictions":[2.0]}') == 2
    assert answer.endswith(b'{"status":"alive"}')


def test_another_protocol_may_be_offered_with_chunks_and_without_a_body(port) -> None:
    """Heads in pieces, chunks, many requests in a packet and a websocket make no difference."""
    chunked = CHUNKED.replace(HEAD, HEAD + H2C) + b"\r\n"
    answer, _ = talk(port, chunked[:70], chunked[70:] + chunked, LAST, pause_s=0.05)
    assert answer.count(b'{"predictions":[2.0]}') == 2
    socketed = LAST.replace(b"connection: close", b"connection: close, upgrade\r\nupgrade: websocket")
    answer, _ = talk(port, socketed + b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b'{"status":"alive"}')


def test_a_body_behind_an_offer_is_no_request(port) -> None:
    """What a proxy takes for a body is one."""
    head = b"GET /ping HTTP/1.1\r\nhost: localhost\r\n" + H2C + b"content-length: %d\r\n\r\n" % len(LAST)
    answer, _ = talk(port, head + LAST + LAST)
    assert answer.count(b"HTTP/1.1 ") == 2


@pytest.mark.parametrize("target", [b"/invocations", b"localhost:80"])
def test_this_is_no_proxy(port, target) -> None:
    """A tunnel is refused, and what would go through it is no request."""
    answer, _ = talk(port, b"CONNECT %b HTTP/1.1\r\nhost: localhost\r\n\r\n" % target + LAST)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_may_offer_http_2(port) -> None:
    """`curl --http2 -d` is answered, twice on one connection."""
    address = f"http://127.0.0.1:{port}/invocations"
    words = ["curl", "-sS", "-m", "5", "--http2", "-d", BODY.decode(), address, address]
    done = subprocess.run(words, capture_output=True, check=False, timeout=20)
    assert done.stdout == b'{"predictions":[2.0]}' * 2


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ((b"no http\r\n\r\n",), 400),
        ((LAST.replace(b"close", b"keep-alive"), LAST.replace(b"/livez", b"http://[/")), 400),
        ((CHUNKED.replace(b"\r\n0\r\n", b"more"),), 400),
        ((HEAD,), 408),
        ((HEAD + b"x-a: " + b"a" * 70_000,), 431),
    ],
    ids=["words", "address", "chunk", "slow", "large"],
)
def test_what_is_cut_is_told_the_version_and_counted(port, parts, status) -> None:
    """Also an answer that the application never sees names the version, and is in the metrics."""
    answer, _ = talk(port, *parts, pause_s=0.05)
    last = answer[answer.rindex(b"HTTP/1.1 ") :]
    assert last.startswith(b"HTTP/1.1 %d " % status)
    assert b"x-modelbook-version: 7" in last
    page = talk(port, METRICS)[0].decode()
    assert f'modelbook_requests_total{{path="other",status="{status}"}}' in page
    assert 'modelbook_errors_total{cause="connection"}' in page


def test_line_ends_hold_no_connection(port) -> None:
    """Nothing but line ends after a request is a head that does not end."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(LAST.replace(b"connection: close\r\n", b""))
        time.sleep(0.1)
        assert client.recv(65_536).endswith(b'{"status":"alive"}')
        client.sendall(b"\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - start < 3
