"""What the record costs within a housing run: lineage, hashing, and the outbox where the server is away.

Lineage and outbox are counted in seconds that the run waits for them. The model is hashed in a thread beside
its evaluation: hashing is counted in seconds of processor time.

    python benchmarks/bench_record.py [--rounds N]

Takes some five minutes on two cores; exits with 1 when a limit is missed.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench_run import FOREST, MODELBOOK
from harness import ROUNDS, Command, Row, environment, run, show

CLOSED = "http://127.0.0.1:9"  # the port of `discard`: nobody listens
SHARE = 0.03

Clock = Callable[[], float]


def main() -> None:
    """Measure, print the table and say by the exit code whether every limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--spans", metavar="PROJECT", help="run this project and print its spans")
    given = parser.parse_args()
    if given.spans:
        print(json.dumps(spans_of_a_run(Path(given.spans))))
        return
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as name:
        project = Path(name) / "project"
        run(Command([MODELBOOK, "init", project, "--example", "housing"], Path(name)))
        settings = [word for key, value in FOREST.items() for word in ("--set", f"{key}={value}")]
        run(Command([MODELBOOK, "run", *settings], project))
        rows = [row for uri in (None, CLOSED) for row in measure(project, uri, rounds=given.rounds)]
    sys.exit(not show(rows))


def measure(project: Path, uri: str | None, *, rounds: int) -> list[Row]:
    """Return what each kind of span takes in a run, and all of them beside the run."""
    found = [one_run(project, uri) for _ in range(rounds)]
    place = "without a server" if uri else "with the project's own store"
    kinds = sorted({kind for spans in found for kind in spans} - {"run"})
    total = median(spans["run"] for spans in found)
    shares = [sum(value for kind, value in spans.items() if kind != "run") / spans["run"] for spans in found]
    return [
        Row(f"run {place}", total, "s"),
        *(Row(f"  {kind}", median(spans.get(kind, 0.0) for spans in found), "s") for kind in kinds),
        Row("  together, beside the run", median(shares), "x", SHARE),
    ]


def one_run(project: Path, uri: str | None) -> dict[str, float]:
    """Run the project in a process of its own and return its spans in seconds."""
    variables = environment() | ({"MLFLOW_TRACKING_URI": uri} if uri else {})
    words = [sys.executable, __file__, "--spans", str(project)]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stderr}\na run ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def spans_of_a_run(project: Path) -> dict[str, float]:
    """Run every stage here, with a clock around each span; what happens inside another span counts there."""
    start = time.perf_counter()
    spans = Spans()
    from modelbook.models import description
    from modelbook.pipeline import training
    from modelbook.pipeline.run import run_pipeline
    from modelbook.tracking.outbox import Outbox
    from modelbook.tracking.tracker import MLflowTracker

    spans.time(training, "read_lineage", "lineage")
    spans.time(MLflowTracker, "log_lineage", "lineage")
    spans.time(description, "model_digest", "hashing", clock=time.thread_time)
    for module in [value for name, value in sys.modules.items() if name.startswith("modelbook.")]:
        if hasattr(module, "file_hash"):
            spans.time(module, "file_hash", "hashing", clock=time.thread_time)
    for name in ("hold", "append"):
        spans.time(Outbox, name, "outbox")
    run_pipeline(project, use_dvc=False, force=True)
    return dict(spans.seconds) | {"run": time.perf_counter() - start}


class Spans:
    """The seconds spent in functions, by kind; each thread counts the outermost of its own."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside = threading.local()

    def time(self, owner: Any, name: str, kind: str, *, clock: Clock = time.perf_counter) -> None:
        """Put a clock around a function of a module or a class."""
        setattr(owner, name, self._timed(getattr(owner, name), kind, clock=clock))

    def _timed(self, function: Callable[..., Any], kind: str, *, clock: Clock) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            if getattr(self._inside, "is_so", False):
                return function(*arguments, **options)
            self._inside.is_so = True
            start = clock()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[kind] += clock() - start
                self._inside.is_so = False

        return timed


if __name__ == "__main__":
    main()
