"""A grid of four forests by `modelbook sweep`, beside a bare scikit-learn loop that makes and scores them.

    python benchmarks/bench_sweep.py [--rounds N]

Takes some ten minutes on two cores; exits with 1 when the limit is missed.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from bench_run import FOREST, MODELBOOK, TABLE
from harness import ROUNDS, Command, Row, in_turns, run, show
from modelbook.config.changes import set_values

LIMIT = 1.15
KEY = "model.hyperparameters.random_forest.n_estimators"
GRID = f"{KEY}=100,150,200,300"
ALIKE = FOREST | {"model.hyperparameters.random_forest.max_depth": "null"}


def main() -> None:
    """Measure, print the table and say by the exit code whether the limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as name:
        project = Path(name) / "project"
        run(Command([MODELBOOK, "init", project, "--example", "housing"], Path(name)))
        set_values(project / "config/config.yaml", {key: str(value) for key, value in ALIKE.items()})
        bare = Command([sys.executable, Path(__file__).with_name("bare_forests.py"), TABLE], project)
        sweep = Command(
            [MODELBOOK, "sweep", "--grid", GRID],
            project,
            prepare=lambda: shutil.rmtree(project / "logs/sweeps", ignore_errors=True),
        )
        alone, swept = in_turns(bare, sweep, rounds=given.rounds)
    rows = [
        Row("four forests in a bare loop", alone.median_s, "s"),
        Row("the same as a sweep", swept.median_s, "s"),
        Row("  beside the bare loop", swept.ratio(alone), "x", LIMIT),
        Row("  memory of one process at most", swept.peak_mb, "MB"),
    ]
    sys.exit(not show(rows))


if __name__ == "__main__":
    main()
