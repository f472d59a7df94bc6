"""A server under more than it can do, and with a model that does not come to an end."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles

import pytest
import requests
from pyarrow import parquet

pytestmark = pytest.mark.slow

CONNECTIONS = 200
LIMIT = 32
SECONDS = 5.0
TESTS = Path(__file__).parents[1]


@pytest.fixture
def start(free_port, tmp_path):
    """Return a function that starts a server of a sleeping model and returns its address and its process."""
    servers = []

    def begin(**settings):
        words = [sys.executable, str(TESTS / "sleeping_server.py"), str(free_port), json.dumps(settings)]
        environ = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        with (tmp_path / "server.log").open("w") as log:
            server = subprocess.Popen(words, env=environ, stdout=log, stderr=log)
        servers.append(server)
        url = f"http://127.0.0.1:{free_port}"
        until = time.monotonic() + 30
        while time.monotonic() < until and server.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{url}/ping", timeout=2):  # noqa: S310 (loopback)
                return url, server
            time.sleep(0.05)
        pytest.fail((tmp_path / "server.log").read_text())

    yield begin
    for server in servers:
        server.terminate()
        server.wait()


def ask(url: str, seconds: float = 0.0, *, session=requests) -> tuple[int, float, dict[str, str]]:
    """Return the status of an answer, how long it took, and its headers."""
    began = time.perf_counter()
    answer = session.post(f"{url}/invocations", json={"inputs": {"seconds": [seconds]}}, timeout=60)
    return answer.status_code, time.perf_counter() - began, answer.headers


async def keep_asking(port: int, seconds: float, until: float) -> list[tuple[int, float, bool]]:
    """Return status, time and whether there is a Retry-After of each answer on one connection."""
    body = json.dumps({"inputs": {"seconds": [seconds]}}).encode()
    head = f"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(head + body)
        said = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(said.split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        status = int(said.split()[1])
        found.append((status, time.perf_counter() - began, b"retry-after: " in said))
        if status != 200:
            await asyncio.sleep(0.1)  # a client that was refused does not ask again at once
    writer.close()
    await writer.wait_closed()
    return found


def test_more_clients_than_it_works_for(start, say) -> None:
    """Those beyond the limit are refused at once and told when to come again; then all is as before."""
    url, _ = start(max_in_flight=LIMIT, access_log=False, timeout_s=10)
    port = int(url.rpartition(":")[2])
    with requests.Session() as session:
        base = median(ask(url, 0.005, session=session)[1] for _ in range(50))

    async def crowd():
        until = time.perf_counter() + SECONDS
        return await asyncio.gather(*[keep_asking(port, 0.005, until) for _ in range(CONNECTIONS)])

    found = [answer for answers in asyncio.run(crowd()) for answer in answers]
    refused = [seconds for status, seconds, _ in found if status != 200]
    p99 = quantiles(refused, n=100)[98]
    with requests.Session() as session:
        ask(url, 0.005, session=session)
        after = median(ask(url, 0.005, session=session)[1] for _ in range(5))
    say(f"{len(refused)} of {len(found)} refused, p99 {p99 * 1e3:.0f} ms; p50 before {base * 1e3:.1f} ms")
    assert {status for status, _, _ in found} == {200, 503}
    assert all(has_retry for status, _, has_retry in found if status == 503)
    assert p99 <= 0.1
    assert after <= 2 * base


def test_a_model_that_does_not_end(start, say) -> None:
    """Each request is answered in time, and soon after all is as before."""
    url, _ = start(timeout_s=2.0, model_processes=2)
    with ThreadPoolExecutor(24) as threads:
        hanging = list(threads.map(lambda _: ask(url, 60.0), range(24)))
    slowest = max(seconds for _, seconds, _ in hanging)
    began = time.monotonic()
    while not both_answer(url):
        assert time.monotonic() - began < 15
    say(f"the slowest 504 after {slowest:.2f} s, full capacity {time.monotonic() - began:.1f} s later")
    assert {status for status, _, _ in hanging} == {504}
    assert slowest <= 2.2


def both_answer(url: str) -> bool:
    """Return whether two requests that take half a second each are answered side by side."""
    with ThreadPoolExecutor(2) as threads:
        began = time.monotonic()
        answers = list(threads.map(lambda _: ask(url, 0.5), range(2)))
        return {status for status, _, _ in answers} == {200} and time.monotonic() - began < 0.9


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * 10_000_001, {}, 413),
        (b"[" * 100_000, {}, 400),
        (b'{"inputs": {"seconds": [' + b"9" * 5000 + b"]}}", {}, 400),
        (gzip.compress(bytes(1_000_000_000), 9), {"content-encoding": "gzip"}, 413),
        (b'{"inputs": {"seconds": [NaN, Infinity]}}', {}, 400),
        (b'{"inputs": {"seconds": [1], "seconds": [2]}}', {}, 400),
    ],
    ids=["large", "deep", "digits", "bomb", "infinity", "twice"],
)
def test_what_is_meant_to_hurt(start, body, headers, *, status, say) -> None:
    """It is refused within 100 ms, and takes no memory."""
    url, server = start()
    ask(url)
    before = resident_mb(server.pid)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        with requests.Session() as session:
            answer = session.post(f"{url}/invocations", data=body, headers=headers, timeout=30)
        times.append(time.perf_counter() - began)
        assert answer.status_code == status
    say(f"{min(times) * 1e3:.0f} ms at best, {resident_mb(server.pid) - before:.0f} MB more")
    assert min(times) <= 0.1
    assert resident_mb(server.pid) - before < 60


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def dropped(url: str) -> float:
    """Return how many rows the log of predictions did not take."""
    lines = requests.get(f"{url}/metrics", timeout=10).text.splitlines()
    (line,) = [line for line in lines if line.startswith("modelbook_prediction_log_dropped_rows_total")]
    return float(line.split()[1])


def test_a_full_disk_under_the_log_of_predictions(start, small_disk) -> None:
    """Answers go on, what was dropped is counted, nothing is half written; with room rows are kept again."""
    folder = small_disk / "predictions"
    url, _ = start(prediction_log={"folder": str(folder), "rows_per_file": 1, "seconds_per_file": 1})
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert {ask(url)[0] for _ in range(50)} == {200}
    await_that(lambda: dropped(url) == 50)
    assert not folder.exists() or not list(folder.iterdir())
    ballast.unlink()
    assert {ask(url)[0] for _ in range(50)} == {200}
    await_that(lambda: rows_in(folder) == 50)
    assert dropped(url) == 50


def rows_in(folder: Path) -> int:
    return sum(parquet.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def await_that(is_so: Callable[[], bool], timeout_s: float = 10.0) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.1)
