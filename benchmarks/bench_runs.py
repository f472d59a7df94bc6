"""What `runs` and `compare` take with 10,000 runs in the store, beside MLflow's own search.

    python benchmarks/bench_runs.py [--rounds N] [--runs N]

Five runs of the housing example are made with small forests; the other ones are copies in the store's tables,
with ids and times of their own, put there before the last of the five. Starting is a process that imports
what the command imports and opens the store. Takes some four minutes on two cores; exits with 1 when a limit
is missed.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from bench_run import MODELBOOK
from harness import ROUNDS, Command, Row, Samples, environment, in_turns, run, show

RUNS = 10_000
MADE = 5
MOST_S = 2.0
MOST_RATIO = 1.5
SORT, FILTER = (
    "metrics.test_rmse",
    "metrics.test_r2_score > 0.5 and params.`data.target` = 'median_house_value'",
)
STARTING = """
import {imported}
from modelbook.config import load_config
from modelbook.tracking.store import open_client
open_client(load_config("."))
"""
SEARCHING = """
from mlflow import MlflowClient
client = MlflowClient("sqlite:///logs/mlflow.db")
experiment = client.get_experiment_by_name("{experiment}")
found = client.search_runs([experiment.experiment_id], "{query}", order_by=["{sort}"], max_results=20)
print([(run.info.run_id, run.data.metrics) for run in found])
"""


def main() -> None:
    """Measure, print the table and say by the exit code whether the limits are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as name:
        project = Path(name) / "project"
        run(Command([MODELBOOK, "init", project, "--example", "housing"], Path(name)))
        ids = made(project, range(5, 4 + MADE))
        multiply(project / "logs/mlflow.db", ids[0], given.runs - MADE)
        ids += made(project, (4 + MADE,))[:1]
        rows = list(measured(project, ids, given.rounds))
    sys.exit(not show(rows))


def made(project: Path, sizes: Iterable[int]) -> list[str]:
    """Return the ids of real runs, the newest first, after making some with forests of these sizes."""
    for trees in sizes:
        setting = f"model.hyperparameters.random_forest.n_estimators={trees}"
        run(Command([MODELBOOK, "run", "--set", setting, "--set", "evaluation.thresholds={}"], project))
    words = [str(MODELBOOK), "--json", "runs"]
    done = subprocess.run(words, cwd=project, env=environment(), stdout=subprocess.PIPE, check=True)
    return [found["run_id"] for found in json.loads(done.stdout)]


def multiply(database: Path, run_id: str, copies: int) -> None:
    """Put copies of a run into a store, each a second older than the last."""
    with sqlite3.connect(database) as store:
        store.execute("CREATE TEMP TABLE copy (i INTEGER, id TEXT)")
        store.executemany("INSERT INTO copy VALUES (?, ?)", ((i, f"{i:032x}") for i in range(1, copies + 1)))
        for table in ("runs", "params", "tags", "metrics", "latest_metrics"):
            names = [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(_changed(name) for name in names)
            store.execute(
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} "  # noqa: S608 (names of MLflow's own)
                f"FROM {table} AS old, copy WHERE old.run_uuid = ?",
                (run_id,),
            )


def _changed(name: str) -> str:
    changes = {
        "run_uuid": "copy.id",
        "start_time": "old.start_time - 1000 * copy.i",
        "end_time": "old.end_time - 1000 * copy.i",
    }
    return changes.get(name, f"old.{name}")


def measured(project: Path, ids: list[str], rounds: int) -> Iterator[Row]:
    """Yield what both commands take."""
    config = yaml.safe_load((project / "config/config.yaml").read_text(encoding="utf-8"))
    plain = SEARCHING.format(experiment=config["tracking"]["experiment"], query=FILTER, sort=SORT)
    ways = (
        ("modelbook.tracking.runs", [MODELBOOK, "runs", "--sort", SORT, "--filter", FILTER]),
        ("modelbook.pipeline.compare", [MODELBOOK, "compare", *ids]),
    )
    for imported, words in ways:
        starting, done, searched = in_turns(
            python(project, STARTING.format(imported=imported)),
            Command(words, project),
            python(project, plain),
            rounds=rounds,
        )
        name = words[1]
        yield Row(
            f"{name}: beyond starting", beyond(done, starting), "s", MOST_S, beside=f"{done.median_s:.2f} s"
        )
        if name == "runs":
            beside = f"{searched.median_s:.2f} s"
            yield Row(
                "runs: beside MLflow's own search", done.ratio(searched), "x", MOST_RATIO, beside=beside
            )


def python(project: Path, code: str) -> Command:
    """Return a command that runs code in a project."""
    return Command([sys.executable, "-c", code], project)


def beyond(done: Samples, starting: Samples) -> float:
    """Return the median, over the rounds, of the seconds that one takes more than the other."""
    return sorted(a - b for a, b in zip(done.seconds, starting.seconds, strict=True))[len(done.seconds) // 2]


if __name__ == "__main__":
    main()
