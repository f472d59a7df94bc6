"""What a request costs: `modelbook serve` beside `mlflow models serve`, and a FastAPI app with a constant.

python benchmarks/bench_serving.py [--model KIND] [--table FILE] [--seconds S] [--rounds N] [--places]

The housing forest of 150 trees, 20 deep, on the columns of the example's table, or of another with the same
target (with --places also on what `features.geography` makes of them, as `init` has it); or LightGBM of 1,000
trees, a forest behind a transformer of the project's own, or logistic regression on the other example. Asked
by `wrk` (apt-get install wrk) on this machine: one row over 16 connections and over one, and 1,000 rows that
were drawn at random over one, each server in turn. wrk and the servers share the processors: ratios count.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import polars as pl

from harness import BIN, Command, Row, environment, run, show
from modelbook.config import load_config

TARGET = "median_house_value"
MODELBOOK = BIN / "modelbook"
CONSTANT = Path(__file__).with_name("constant_app.py")
CONNECTIONS = 16
THOUSAND = 1000
FOREST = {
    "model.hyperparameters.random_forest.n_estimators": 150,
    "model.hyperparameters.random_forest.max_depth": 20,
}
KINDS: dict[str, dict[str, object]] = {
    "forest": FOREST,
    "lightgbm": {
        "model.algorithm": "lightgbm",
        "model.hyperparameters.lightgbm": "{n_estimators: 1000}",
    },
    "logistic": {"model.algorithm": "linear"},
    "own": FOREST | {"features.custom": "Tamed"},
}
# Times MLflow's: requests a second of one row, the time of one, rows a second in requests of 1,000.
LIMITS = {"forest": (1 / 100, 1 / 40, 1 / 3)}
BETTER = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Server:
    """A server that answers, what it took to be ready, and what it holds."""

    name: str
    url: str
    pid: int
    ready_s: float

    @property
    def memory_mb(self) -> float:
        """What it and the processes that it started hold of the memory now, in MB."""
        return sum(_resident_kb(pid) for pid in _family(self.pid)) / 1024

    @property
    def processor_s(self) -> float:
        """What they have taken of the processors until now, in seconds."""
        return sum(_processor_s(pid) for pid in _family(self.pid))


@dataclass(frozen=True)
class Load:
    """What wrk sends, and over how many connections."""

    body: Path
    connections: int


@dataclass(frozen=True)
class Measured:
    """What wrk saw: requests a second, the median time of one in ms, and what one cost its server, in ms.

    The last does not show what else a machine does, but for its caches.
    """

    rate: float
    p50_ms: float
    processor_ms: float


def main() -> None:
    """Measure, print the table and say by the exit code whether the limits are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=list(KINDS), default="forest")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--places", action="store_true")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as name, ExitStack() as stack:
        project = Path(name) / "project"
        model = trained(project, options.model, table=options.table, has_places=options.places)
        one, thousand = (script(project, rows) for rows in (1, THOUSAND))
        words = commands(model, options.workers)
        with serving("first", words["modelbook"], project) as first:
            first_s = first.ready_s
        servers = [stack.enter_context(serving(label, start, project)) for label, start in words.items()]
        loads = [Load(one, CONNECTIONS), Load(one, 1), Load(thousand, 1)]
        figures = in_turns(servers, loads, seconds=options.seconds, rounds=options.rounds)
        memory = {server.name: server.memory_mb for server in servers}
        ready = {server.name: server.ready_s for server in servers}
    limits = LIMITS.get(options.model, BETTER)
    sys.exit(not show(rows_of(figures, memory, ready | {"first": first_s}, limits=limits)))


def commands(model: str, workers: int) -> dict[str, Sequence[str | Path]]:
    """Return what starts each server; the port comes last."""
    uvicorn = [BIN / "uvicorn", "constant_app:app", "--app-dir", CONSTANT.parent]
    return {
        "mlflow": [BIN / "mlflow", "models", "serve", "-m", f"models:/{model}", "--env-manager", "local"],
        "modelbook": [MODELBOOK, "serve", model, "--workers", str(workers)],
        "constant": [*uvicorn, "--no-access-log", "--log-level", "warning"],
    }


def trained(project: Path, kind: str, *, table: Path | None, has_places: bool) -> str:
    """Lay a project down, train the model and return the version that was registered."""
    example = "classification" if kind == "logistic" else "housing"
    source = ["--data", str(table.absolute()), "--target", TARGET] if table else ["--example", example]
    run(Command([MODELBOOK, "init", project, *source], project.parent))
    if kind == "own":
        use_own_code(project / "features.py")
    settings = KINDS[kind] | {"serving.access_log": "true", "evaluation.thresholds": "{}"}
    if not has_places:
        settings |= {"features.geography": "null"}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    words = [MODELBOOK, "--json", "run", "--no-dvc", *sets]
    done = subprocess.run(words, cwd=project, env=environment(), stdout=subprocess.PIPE, check=True)
    model = json.loads(done.stdout)["model"]
    return f"{model['name']}/{model['version']}"


def use_own_code(path: Path) -> None:
    """Turn the examples that `init` leaves as comments into code."""
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join(line.removeprefix("#").removeprefix(" ") if line[:1] == "#" else line for line in lines)
    )


def script(project: Path, rows: int) -> Path:
    """Write what wrk sends for so many rows of the project's table."""
    data = load_config(project).data
    raw = project / data.raw
    whole = pl.read_csv(raw) if raw.suffix == ".csv" else pl.read_parquet(raw)
    table = whole.drop(data.target).sample(rows, seed=1)  # neighbours in it may share their ways down a tree
    body = json.dumps({"dataframe_split": {"columns": table.columns, "data": table.rows()}})
    path = project / f"{rows}.lua"
    quoted = f"[==[{body}]==]"
    path.write_text(
        f'wrk.method = "POST"\nwrk.body = {quoted}\nwrk.headers["Content-Type"] = "application/json"\n'
    )
    return path


@contextmanager
def serving(name: str, words: Sequence[str | Path], project: Path) -> Iterator[Server]:
    """Run a server and yield it once it answers."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    variables = environment() | {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/logs/mlflow.db"}
    with (project / f"{name}.log").open("w") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*map(str, words), "--port", str(port)],
            cwd=project,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _await(f"{url}/ping", process)
            yield Server(name, url, process.pid, time.perf_counter() - start)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def in_turns(
    servers: Sequence[Server], loads: Sequence[Load], *, seconds: int, rounds: int
) -> dict[tuple[str, int], Measured]:
    """Return what each server does under each load: the medians over rounds, another one first in each."""
    found: dict[tuple[str, int], list[Measured]] = {}
    for number in range(-1, rounds):  # the first warms up
        for place in range(len(servers)):
            server = servers[(place + number) % len(servers)]
            for which, load in enumerate(loads):
                measured = wrk(server, load, seconds=1 if number < 0 else seconds)
                if number >= 0:
                    found.setdefault((server.name, which), []).append(measured)
    return {
        key: Measured(
            median(one.rate for one in many),
            median(one.p50_ms for one in many),
            median(one.processor_ms for one in many),
        )
        for key, many in found.items()
    }


def wrk(server: Server, load: Load, *, seconds: int) -> Measured:
    """Return what wrk saw.

    Raises:
        SystemExit: An answer was none.
    """
    words = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    words += ["-s", str(load.body), f"{server.url}/invocations"]
    before = server.processor_s
    said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    spent_s = server.processor_s - before
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"{server.name}: {said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)\b", said)
    count = re.search(r"(\d+) requests in", said)
    if rate is None or p50 is None or count is None:
        sys.exit(f"{server.name}: {said}")
    p50_ms = float(p50[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p50[2]]
    return Measured(float(rate[1]), p50_ms, spent_s * 1e3 / int(count[1]))


def rows_of(
    figures: dict[tuple[str, int], Measured],
    memory: dict[str, float],
    ready: dict[str, float],
    *,
    limits: tuple[float, float, float],
) -> list[Row]:
    """Return the lines of the result, as shares of the figures of MLflow and of the constant."""
    many, single, thousand = range(3)
    theirs, ours = ([figures[name, which] for which in range(3)] for name in ("mlflow", "modelbook"))
    constant = figures["constant", many].rate
    cost = {name: figures[name, many].processor_ms for name in ("mlflow", "modelbook", "constant")}
    rows_s = ours[thousand].rate * THOUSAND
    share = "MLflow's as a share of it"
    return [
        Row("one row, 16 connections", ours[many].rate, "/s", beside=f"MLflow {theirs[many].rate:.0f}"),
        Row(share, theirs[many].rate / ours[many].rate, "", limits[0]),
        Row(
            "a constant by FastAPI, times it",
            constant / ours[many].rate,
            "",
            2.5 if limits != BETTER else None,
            f"{constant:.0f}/s",
        ),
        Row("processor time of one row", cost["modelbook"], "ms", beside=f"MLflow {cost['mlflow']:.1f}"),
        Row("share of MLflow's", cost["modelbook"] / cost["mlflow"], ""),
        Row("times that of a constant", cost["modelbook"] / cost["constant"], ""),
        Row("one row, p50", ours[single].p50_ms, "ms", beside=f"MLflow {theirs[single].p50_ms:.1f}"),
        Row("share of MLflow's", ours[single].p50_ms / theirs[single].p50_ms, "", limits[1]),
        Row("1,000 rows", rows_s, "rows/s", beside=f"MLflow {theirs[thousand].rate * THOUSAND:.0f}"),
        Row(share, theirs[thousand].rate / ours[thousand].rate, "", limits[2]),
        Row("ready for the first time", ready["first"], "s", beside="the bundle is made"),
        Row("ready", ready["modelbook"], "s", beside=f"MLflow {ready['mlflow']:.1f}"),
        Row("share of MLflow's", ready["modelbook"] / ready["mlflow"], "", 0.5),
        Row("memory", memory["modelbook"], "MB", beside=f"MLflow {memory['mlflow']:.0f}"),
        Row("share of MLflow's", memory["modelbook"] / memory["mlflow"], "", 0.5),
    ]


def _await(url: str, process: "subprocess.Popen[bytes]", timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 (loopback)
            return
        time.sleep(0.02)
    sys.exit(f"no server at {url}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _family(pid: int) -> list[int]:
    """Return a process and all below it, whichever of their threads began them."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    try:
        below = [int(child) for children in lists for child in children.read_text().split()]
    except OSError:
        return []
    return [pid, *(member for child in below for member in _family(child))]


def _processor_s(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _resident_kb(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
