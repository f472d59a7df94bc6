"""Tables as files, and a web server on loopback that hands them out."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class Quiet(SimpleHTTPRequestHandler):
    """Hands out files without a word, notes what was asked for, and cuts answers short at `/cut/`."""

    def do_GET(self) -> None:
        """Answer with a file, or with the beginning of one."""
        self.server.requests.append(self.path)
        self.server.authorization = self.headers["Authorization"]
        if not self.path.startswith("/cut/"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"rooms,price\n")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Return a function that writes a file into the test's folder and returns its path."""

    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """Return a running server of the folder `site`; `.requests` lists the paths asked for.

    `.authorization` is what the last request showed.
    """
    (tmp_path / "site").mkdir()
    handler = partial(Quiet, directory=str(tmp_path / "site"))
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    running.requests = []
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()
