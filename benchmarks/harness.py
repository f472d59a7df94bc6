"""Times whole processes: several ways of doing the same work, in turns, so that a busy machine slows all."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

BIN = Path(sys.executable).parent
ROUNDS = 5


@dataclass(frozen=True)
class Command:
    """A way of doing the work: its words, where it is run, and what is made ready before each time."""

    words: Sequence[str | Path]
    folder: Path
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Samples:
    """What a command took, round by round.

    Attributes:
        seconds: Wall time from start to exit.
        peaks_mb: The most memory that the process, or one that it started, held at once.
    """

    seconds: tuple[float, ...]
    peaks_mb: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The median time in seconds."""
        return median(self.seconds)

    @property
    def peak_mb(self) -> float:
        """The median peak in MB."""
        return median(self.peaks_mb)

    def ratio(self, other: "Samples") -> float:
        """Return the median, over the rounds, of this time divided by the other's of the same round."""
        return median(mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True))


@dataclass(frozen=True)
class Row:
    """A line of the result: what was measured, against what, and whether it is within its limit."""

    what: str
    measured: float
    unit: str
    limit: float | None = None
    beside: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the figure is within its limit; without one it always is."""
        return self.limit is None or self.measured <= self.limit


def in_turns(*commands: Command, rounds: int = ROUNDS) -> tuple[Samples, ...]:
    """Run each command once to warm up, then all of them in turns, another one first in every round."""
    for command in commands:
        run(command)
    measured: list[list[tuple[float, float]]] = [[] for _ in commands]
    for number in range(rounds):
        for place in range(len(commands)):
            chosen = (place + number) % len(commands)
            measured[chosen].append(run(commands[chosen]))
    return tuple(Samples(*zip(*samples, strict=True)) for samples in measured)


def run(command: Command) -> tuple[float, float]:
    """Run a command and return its seconds and the peak of its memory in MB.

    Raises:
        SystemExit: It failed; what it said is on stderr.
    """
    command.prepare()
    words = [str(word) for word in command.words]
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=command.folder, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{log.read().decode()}\n`{' '.join(words)}` ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def environment() -> dict[str, str]:
    """Return what every measured process gets: bytecode is kept, and nobody reports home."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DVC_NO_ANALYTICS": "1",
    }


def disk_mb(folder: Path) -> float:
    """Return what a folder takes on disk in MB (10⁶ bytes), a file with several hard links counted once."""
    states = [path.lstat() for path in folder.rglob("*")]
    blocks = {(state.st_dev, state.st_ino): state.st_blocks for state in states}
    return sum(blocks.values()) * 512 / 1e6


def show(rows: Iterable[Row]) -> bool:
    """Print the result as a Markdown table; return whether every limit is kept."""
    rows = tuple(rows)
    lines = [("measured", "figure", "limit", "", "")]
    lines += [
        (
            row.what,
            f"{row.measured:.4g} {row.unit}".strip(),
            "" if row.limit is None else f"{row.limit:g}",
            "" if row.limit is None else ("met" if row.is_met else "MISSED"),
            row.beside,
        )
        for row in rows
    ]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    lines.insert(1, tuple("-" * width for width in widths))
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
    return all(row.is_met for row in rows)
