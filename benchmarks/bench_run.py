"""What a run costs beside the same work by hand: time, memory, disk, and the commands that do little.

    python benchmarks/bench_run.py [--rounds N]

Takes about a quarter of an hour on two cores; exits with 1 when a limit is missed.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import modelbook
from harness import BIN, ROUNDS, Command, Row, Samples, disk_mb, in_turns, run, show

HERE = Path(__file__).parent
TABLE = Path(modelbook.__file__).parent / "scaffold" / "examples" / "housing.parquet"
MODELBOOK = BIN / "modelbook"
FOREST = {
    "model.algorithm": "random_forest",
    "model.hyperparameters.random_forest.n_estimators": 300,
    "model.hyperparameters.random_forest.max_depth": 20,
    "model.hyperparameters.random_forest.max_features": 1.0,
    # The scripts beside it make no features: what is compared is the same work.
    "features.geography": "null",
    "features.ratios": "[]",
    "training.n_jobs": 2,
    "split.seed": 42,
}


def main() -> None:
    """Measure, print the table and say by the exit code whether every limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as name:
        folder = Path(name)
        rows = [*light_commands(folder, rounds), one_run(folder)]
        rows += [*forced_runs(folder, rounds), *runs_without_work(folder, rounds)]
    sys.exit(not show(rows))


def light_commands(folder: Path, rounds: int) -> list[Row]:
    """Measure the commands that must answer at once."""
    helped, nothing = in_turns(
        Command([MODELBOOK, "--help"], folder), Command([sys.executable, "-c", "pass"], folder), rounds=rounds
    )
    new = folder / "new"
    (made,) = in_turns(
        Command(
            [MODELBOOK, "init", new, "--example", "housing"],
            folder,
            prepare=lambda: shutil.rmtree(new, ignore_errors=True),
        ),
        rounds=rounds,
    )
    return [
        Row("--help, beyond python -c pass", helped.median_s - nothing.median_s, "s", 0.3, peak(helped)),
        Row("init", made.median_s, "s", 3, peak(made)),
    ]


def one_run(folder: Path) -> Row:
    """Lay the project down, run it once and measure the disk that it takes."""
    project = folder / "project"
    run(Command([MODELBOOK, "init", project, "--example", "housing"], folder))
    settings = [word for key, value in FOREST.items() for word in ("--set", f"{key}={value}")]
    run(Command([MODELBOOK, "run", *settings], project))
    return Row("disk after one run", disk_mb(project), "MB", 420)


def forced_runs(folder: Path, rounds: int) -> list[Row]:
    """Measure whole runs, with DVC and without, beside the bare script and the one with MLflow by hand."""
    project = folder / "project"
    direct, driven, bare, plain = in_turns(
        Command([MODELBOOK, "run", "--force", "--no-dvc"], project),
        Command([MODELBOOK, "run", "--force"], project),
        Command([sys.executable, HERE / "bare_forest.py", TABLE, folder], folder),
        Command([sys.executable, HERE / "plain_mlflow.py", TABLE, folder], folder),
        rounds=rounds,
    )
    return [
        Row("bare script", bare.median_s, "s", None, peak(bare)),
        Row("script with MLflow", plain.median_s, "s", None, peak(plain)),
        Row("run --force --no-dvc", direct.median_s, "s", None, peak(direct)),
        Row("  beside the bare script", direct.ratio(bare), "x", 1.5),
        Row("  beside the script with MLflow", direct.ratio(plain), "x", 1),
        Row("run --force", driven.median_s, "s", None, peak(driven)),
        Row("  beside the bare script", driven.ratio(bare), "x", 2),
        Row("  beside the script with MLflow", driven.ratio(plain), "x", 1),
    ]


def runs_without_work(folder: Path, rounds: int) -> list[Row]:
    """Measure a run that finds everything done beside DVC's own."""
    project = folder / "project"
    ours, theirs = in_turns(
        Command([MODELBOOK, "run"], project), Command([BIN / "dvc", "repro"], project), rounds=rounds
    )
    return [
        Row("run with nothing to do", ours.median_s, "s", None, peak(ours)),
        Row("dvc repro with nothing to do", theirs.median_s, "s", None, peak(theirs)),
        Row("  run beside dvc repro", ours.ratio(theirs), "x", 1.3),
    ]


def peak(samples: Samples) -> str:
    """Return the peak of memory in words."""
    return f"peak {samples.peak_mb:.0f} MB"


if __name__ == "__main__":
    main()
