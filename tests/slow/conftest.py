"""What the slow tests share: a watch over a file that others write, and a way to say what was measured."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def say(request, capsys) -> Callable[[str], None]:
    """Return a function that says something past the capture: a seed, a figure."""

    def write(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{request.node.name}: {line}\n")
            sys.stdout.flush()

    return write


class Watch:
    """How often a JSON file was read while others wrote it, and what was wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0
        self.mistakes: list[str] = []
        self._is_over = threading.Event()

    def look(self) -> None:
        """Read the file until the watch is over."""
        while not self._is_over.wait(0.02):
            try:
                json.loads(self.path.read_bytes())
            except (OSError, ValueError) as error:
                self.mistakes.append(f"{self.path.name}: {error}")
            self.reads += 1

    def end(self) -> None:
        """Let the watch be over."""
        self._is_over.set()


@pytest.fixture(scope="session")
def watching():
    """Return a context manager that reads a JSON file over and over in a thread of its own."""

    @contextmanager
    def watch(path: Path) -> Iterator[Watch]:
        watched = Watch(path)
        thread = threading.Thread(target=watched.look)
        thread.start()
        try:
            yield watched
        finally:
            watched.end()
            thread.join()

    return watch
