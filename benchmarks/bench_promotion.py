"""What a promotion and a rollback take until the alias is visible, beyond what starting takes.

Starting is a process that imports what the command imports and asks the store once how things stand with the
model. Both are run in turns on the housing example, whose forest is of 50 trees.

    python benchmarks/bench_promotion.py [--rounds N]

Takes some three minutes on two cores; exits with 1 when a limit is missed.
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from harness import ROUNDS, Command, Row, Samples, environment, in_turns, run, show
from modelbook.config import load_config

MOST_S = 2.0
MODELBOOK = Path(sys.executable).with_name("modelbook")
STARTING = """
import atexit, gc
gc.set_threshold(50_000)  # as the command line does
atexit.register(gc.freeze)
import {imported}
from modelbook.config import load_config
from modelbook.registry.books import open_books
open_books(load_config("."), "{name}").read()
"""
RESET = """
from modelbook.config import load_config
from modelbook.tracking.store import open_client
config = load_config(".")
client, name = open_client(config), config.tracking.model_name
for alias in client.get_registered_model(name).aliases:
    client.delete_registered_model_alias(name, alias)
if "{version}":
    client.set_registered_model_alias(name, "production", "{version}")
"""
FORCED = ("--force", "--reason", "measured")


def main() -> None:
    """Measure, print the table and say by the exit code whether the limits are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as folder:
        project = Path(folder) / "project"
        name = with_two_versions(project)
        measured = measure(project, name, rounds)
    is_kept = show([row for what, samples in measured.items() for row in rows_of(what, *samples)])
    sys.exit(not is_kept)


def with_two_versions(project: Path) -> str:
    """Lay the example down, train two forests and return the name that they are registered under."""
    run(Command([MODELBOOK, "init", project, "--example", "housing"], project.parent))
    for seed in (1, 2):
        settings = ("model.hyperparameters.random_forest.n_estimators=50", f"training.seed={seed}")
        words = [word for setting in settings for word in ("--set", setting)]
        run(Command([MODELBOOK, "run", *words], project))
    return load_config(project).tracking.model_name


def measure(project: Path, name: str, rounds: int) -> dict[str, tuple[Samples, ...]]:
    """Return, for each move, the samples of the whole command and of starting."""
    to_production = ("--to", "production", *FORCED)
    moving = "modelbook.pipeline.lifecycle.promoting"
    # What reads the model that is in production: skops takes longer to import than all the rest of it.
    challenging = f"{moving}, modelbook.pipeline.lifecycle.contest, modelbook.models.package"
    moves = {
        "promote --to staging": (moving, None, ("promote", name, "1", "--to", "staging")),
        "promote, nothing in production": (moving, None, ("promote", name, "1", *to_production)),
        "promote with the challenge": (challenging, "1", ("promote", name, "2", *to_production)),
        "rollback": (moving, "2", ("rollback", name)),
    }
    found = {}
    for what, (imported, champion, words) in moves.items():
        started = STARTING.format(imported=imported, name=name)
        found[what] = in_turns(
            Command([MODELBOOK, *words], project, partial(reset, project, champion)),
            Command([sys.executable, "-c", started], project),
            rounds=rounds,
        )
    return found


def reset(project: Path, champion: str | None) -> None:
    """Let a version be in production, or none, past the ledger."""
    code = RESET.format(version=champion or "")
    subprocess.run([sys.executable, "-c", code], cwd=project, env=environment(), check=True)


def rows_of(what: str, whole: Samples, start: Samples) -> list[Row]:
    """Return the lines of the table that are about one move."""
    beside = f"{whole.median_s:.2f} s in all, starting {start.median_s:.2f} s"
    return [Row(f"{what}, beyond starting", whole.median_s - start.median_s, "s", MOST_S, beside)]


if __name__ == "__main__":
    main()
