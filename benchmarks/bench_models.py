"""How good models are that a project comes to with its default features, and what they take.

    python benchmarks/bench_models.py [--table housing.csv] [--only WORD ...] [--autogluon PYTHON]

The table is California housing; by default it is the packaged one. Each fit is a process of its own.
`--only` takes some of: lightgbm, auto, classes, shuffled, million. `--autogluon` names the Python of an
environment that has it (autogluon_alone.py says which), and lets it fit the rows of split seed 42 for 900 s
beside `auto` in 300. Everything takes an hour on two idle cores, AutoGluon a further half hour; exits with 1
when a limit is missed.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
from sklearn import datasets

from bench_run import MODELBOOK, TABLE
from harness import Command, Row, environment, run, show

TARGET = "median_house_value"
SEEDS = (1, 2, 3, 4, 5)
AUTO = ("model.algorithm=auto", "training.time_budget_s={budget_s}")
BUDGET_S, SHORT_S, LONG_S = 300, 120, 900
OVER = 1.1
MOST_MB = 6 * 1024
MILLION = 1_000_000
HERE = Path(__file__).parent


def main() -> None:
    """Measure what is asked for, print the table and say by the exit code whether the limits are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--autogluon", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as name:
        folder = Path(name)
        rows = [row for case in given.only for row in CASES[case](folder, given.table.absolute())]
        if given.autogluon:
            rows += beside_autogluon(folder, given.table.absolute(), given.autogluon)
    sys.exit(not show(rows))


def lightgbm(folder: Path, table: Path) -> Iterator[Row]:
    """LightGBM as it comes, with the default features."""
    project = made(folder / "lightgbm", table, TARGET)
    found = [fit(project, table, "model.algorithm=lightgbm", f"split.seed={seed}") for seed in SEEDS]
    yield Row("lightgbm: mean RMSE", mean_of(found, "rmse"), "", 41_500, beside=listed(found, "rmse"))
    yield Row("lightgbm: seconds of a fit", max(one["seconds"] for one in found), "s", 30)


def auto(folder: Path, table: Path) -> Iterator[Row]:
    """The automatic choice on housing."""
    project = made(folder / "auto", table, TARGET)
    found = [fit(project, table, *automatic(BUDGET_S), f"split.seed={seed}") for seed in SEEDS]
    yield Row("auto: mean RMSE", mean_of(found, "rmse"), "", 39_300, beside=listed(found, "rmse"))
    yield Row("auto: seconds", max(one["seconds"] for one in found), "s", BUDGET_S * OVER)


def classes(folder: Path, _: Path) -> Iterator[Row]:
    """The automatic choice on tables of scikit-learn's."""
    for name, least in (("breast_cancer", 0.97), ("digits", 0.98)):
        table = bundled(name, folder)
        project = made(folder / name, table, "target", "--task", "classification")
        found = [fit(project, table, *automatic(SHORT_S), f"split.seed={seed}") for seed in SEEDS]
        accuracy = mean_of(found, "accuracy")
        beside = f"accuracy {accuracy:.4f}: {listed(found, 'accuracy')}"
        yield Row(f"{name}: mean error, at most", 1 - accuracy, "", 1 - least, beside=beside)
        yield Row(f"{name}: seconds", max(one["seconds"] for one in found), "s", SHORT_S * OVER)


def shuffled(folder: Path, table: Path) -> Iterator[Row]:
    """What is learned from a target that says nothing: nothing."""
    numbers = made(folder / "shuffled", table, TARGET)
    of_classes = bundled("breast_cancer", folder)
    classified = made(folder / "shuffled_classes", of_classes, "target", "--task", "classification")
    for algorithm in ("lightgbm", "auto"):
        settings = automatic(SHORT_S) if algorithm == "auto" else ("model.algorithm=lightgbm",)
        found = fit(numbers, table, *settings, "--shuffle")
        yield Row(f"{algorithm}: R² of a shuffled target", found["r2"], "", 0.02)
        found = fit(classified, of_classes, *settings, "--shuffle")
        share = found["majority"]
        interval = 1.96 * math.sqrt(share * (1 - share) / found["rows"])
        name = f"{algorithm}: accuracy for shuffled classes, above the majority's share"
        yield Row(name, found["accuracy"] - share, "", interval, beside=f"share {share:.4f}")


def million(folder: Path, table: Path) -> Iterator[Row]:
    """The automatic choice on a million rows: housing again and again, with noise."""
    large = folder / "million.parquet"
    repeated(table).to_parquet(large)
    project = made(folder / "million", large, TARGET)
    found = fit(project, large, *automatic(BUDGET_S))
    yield Row("auto: peak for a million rows", found["peak_mb"], "MB", MOST_MB)
    yield Row("auto: seconds for a million rows", found["seconds"], "s", BUDGET_S * OVER)


CASES = {"lightgbm": lightgbm, "auto": auto, "classes": classes, "shuffled": shuffled, "million": million}


def beside_autogluon(folder: Path, table: Path, python: Path) -> Iterator[Row]:
    """Both on the rows of split seed 42, AutoGluon for three times as long."""
    project = made(folder / "both", table, TARGET)
    words = [sys.executable, HERE / "fit_model.py", project, table, "split.seed=42", "--parts", folder]
    run(Command(words, folder))
    ours = fit(project, table, *automatic(BUDGET_S), "split.seed=42")
    parts = (folder / "train.parquet", folder / "test.parquet")
    theirs = said(python, HERE / "autogluon_alone.py", *parts, TARGET, str(LONG_S))
    beside = f"AutoGluon {theirs['rmse']:,.0f}, its best single model {theirs['best_single']:,.0f}"
    yield Row("auto: RMSE on seed 42, below", ours["rmse"], "", theirs["rmse"], beside=beside)
    beside = f"AutoGluon {theirs['seconds']:.0f} s"
    yield Row("auto: seconds on seed 42", ours["seconds"], "s", theirs["seconds"] / 3, beside=beside)


def made(project: Path, table: Path, target: str, *words: str) -> Path:
    """Return a new project for a table, with the features that `init` proposes."""
    init = [MODELBOOK, "init", project, "--data", table, "--target", target, *words]
    run(Command(init, project.parent))
    return project


def bundled(name: str, folder: Path) -> Path:
    """Return a table of scikit-learn's, written to a folder."""
    table = folder / f"{name}.csv"
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    bunch.frame.rename(columns=lambda column: column.replace(" ", "_")).to_csv(table, index=False)
    return table


def fit(project: Path, table: Path, *words: str) -> dict[str, float]:
    """Return what one fit came to."""
    found = said(Path(sys.executable), HERE / "fit_model.py", project, table, *words)
    print(f"{project.name} {' '.join(words)}: {found}", file=sys.stderr, flush=True)
    return found


def said(python: Path, script: Path, *words: str | Path) -> dict[str, float]:
    """Return what a script says in its last line."""
    command = [str(word) for word in (python, script, *words)]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def automatic(budget_s: int) -> tuple[str, ...]:
    """Return the settings of an automatic choice."""
    return tuple(setting.format(budget_s=budget_s) for setting in AUTO)


def repeated(table: Path) -> pd.DataFrame:
    """Return housing as a million rows, each number a little off."""
    known = pd.read_csv(table) if table.suffix == ".csv" else pd.read_parquet(table)
    random = np.random.default_rng(0)
    many = known.iloc[random.integers(0, len(known), MILLION)].reset_index(drop=True)
    for name in many.select_dtypes("number").columns.drop(TARGET):
        many[name] = many[name] * (1 + 0.001 * random.normal(size=MILLION))
    return many


def mean_of(found: list[dict[str, float]], name: str) -> float:
    """Return the mean over the fits."""
    return mean(one[name] for one in found)


def listed(found: list[dict[str, float]], name: str) -> str:
    """Return each fit's figure."""
    return ", ".join(f"{one[name]:.5g}" for one in found)


if __name__ == "__main__":
    main()
