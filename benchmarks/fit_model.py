"""Fit a project's model once on the rows of a table that its split leaves, and score it on the others.

    python benchmarks/fit_model.py PROJECT TABLE [KEY=VALUE ...] [--shuffle] [--parts FOLDER]

`--shuffle` puts the target in an order of its own, so that nothing says anything of it. `--parts` only writes
the rows of both parts, as train.parquet and test.parquet. Prints score, seconds of the fit and peak of the
memory as JSON.
"""

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, r2_score, root_mean_squared_error

from modelbook import ModelTrainer, load_config
from modelbook.config.changes import set_values

Parts = tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]


def main() -> None:
    """Fit, score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--parts", type=Path)
    given = parser.parse_args()
    settings = dict(setting.split("=", 1) for setting in given.settings)
    set_values(given.project / "config/config.yaml", settings)
    trainer = ModelTrainer(load_config(given.project))
    table = read(given.table)
    if given.shuffle:
        target = trainer.config.data.target
        table[target] = np.random.default_rng(0).permutation(table[target])
    parts = trainer.split_data(table)
    if given.parts:
        write(given.parts, parts)
    else:
        print(json.dumps(fitted(trainer, parts)))


def read(path: Path) -> pd.DataFrame:
    """Return a table of CSV or Parquet."""
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def write(folder: Path, parts: Parts) -> None:
    """Write training and test rows with their target."""
    X_train, X_test, y_train, y_test = parts
    pd.concat([X_train, y_train], axis=1).to_parquet(folder / "train.parquet")
    pd.concat([X_test, y_test], axis=1).to_parquet(folder / "test.parquet")


def fitted(trainer: ModelTrainer, parts: Parts) -> dict[str, float]:
    """Return how good the model is on test rows, and what fitting it took."""
    X_train, X_test, y_train, y_test = parts
    start = time.perf_counter()
    trainer.train(X_train, y_train)
    seconds = time.perf_counter() - start
    predicted = trainer.predict(X_test)
    found = {"seconds": seconds, "peak_mb": peak_mb()}
    if trainer.config.project.task == "classification":
        shares = y_test.value_counts(normalize=True)
        return found | {
            "accuracy": accuracy_score(y_test, predicted),
            "majority": float(shares.iloc[0]),
            "rows": len(y_test),
        }
    return found | {"rmse": root_mean_squared_error(y_test, predicted), "r2": r2_score(y_test, predicted)}


def peak_mb() -> float:
    """Return the most memory that this process held at once."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1024


if __name__ == "__main__":
    main()
