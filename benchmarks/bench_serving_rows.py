"""What answering rows costs inside a server: models that are compiled beside what scikit-learn takes.

python benchmarks/bench_serving_rows.py [CASE]...

The housing forest of 150 trees, 20 deep; LightGBM of 1,000 trees; logistic regression; the forest with a
transformer of the user's own, which is served with its own code, and with features of places. Each is asked
for one row and for 1,000, in turns with the pipeline that it was made of, which predicts by one thread as it
does everywhere else.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

import modelbook
from harness import Row, environment, show
from modelbook.config import load_config
from modelbook.features.engineer import FeatureEngineer
from modelbook.models.package import pack
from modelbook.models.predict import predict_rows
from modelbook.models.train import ModelTrainer
from modelbook.registry.loading import FoundModel
from modelbook.serving.bundle import write_bundle
from modelbook.serving.reference import frame_of
from modelbook.serving.runtime import open_runtime
from modelbook.serving.trial_rows import rows_of

TABLE = Path(modelbook.__file__).parent / "scaffold" / "examples" / "housing.parquet"
TARGET = "median_house_value"
THOUSAND = 1000
ROUNDS = {1: 10, THOUSAND: 7}
IN_A_ROW = {1: 20, THOUSAND: 1}
STARTS = 3
OPENED = """
import sys
from pathlib import Path
from modelbook.serving.runtime import check_golden, open_runtime
check_golden(open_runtime(Path(sys.argv[1])))
status = Path("/proc/self/status").read_text().splitlines()
print(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""
OWN = """
from sklearn.base import BaseEstimator, TransformerMixin

class Rounded(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.assign(median_income=X["median_income"].round(1))
"""
PLACES = {
    "geography": {
        "latitude": "latitude",
        "longitude": "longitude",
        "neighbours": [10, 50],
        "clusters": 20,
        "rotations": [15, 30, 45, 60, 75],
    }
}


@dataclass(frozen=True)
class Case:
    """A model, and how much of scikit-learn's time its runtime may take for one row and for 1,000."""

    algorithm: str
    settings: Mapping[str, Any]
    limits: tuple[float | None, float | None]
    task: str = "regression"
    features: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "forest": Case("random_forest", {"n_estimators": 150, "max_depth": 20}, (0.02, 0.5)),
    "lightgbm": Case("lightgbm", {"n_estimators": 1000}, (0.1, 1.5)),
    "logistic": Case("linear", {}, (0.04, 0.5), task="classification"),
    "own transformer": Case(
        "random_forest", {"n_estimators": 150, "max_depth": 20}, (2, 1.5), features={"custom": "Rounded"}
    ),
    "places": Case("random_forest", {"n_estimators": 150, "max_depth": 20}, (0.02, 0.5), features=PLACES),
}


def main() -> None:
    """Measure, print the table and say by the exit code whether the limits are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help=f"some of {', '.join(CASES)}; all by default")
    wanted = parser.parse_args().cases or list(CASES)
    lines: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as name:
        for title in wanted:
            lines += measure(title, CASES[title], Path(name) / title.replace(" ", "_"))
    sys.exit(not show(lines))


def measure(title: str, case: Case, folder: Path) -> list[Row]:
    """Return what a model costs: its bundle, opening it, one row and 1,000."""
    table = pl.read_parquet(TABLE).to_pandas()
    found, package = trained(case, table, folder)
    start = time.perf_counter()
    kind = write_bundle(found, package, folder / "bundle").kind
    made_s = time.perf_counter() - start
    size_mb = sum(path.stat().st_size for path in (folder / "bundle").rglob("*") if path.is_file()) / 1e6
    opened_s, opened_mb = opened(folder / "bundle")
    is_compiled = kind == "compiled"
    return [
        Row(f"{title}: bundle made", made_s, "s", beside=f"{kind}, {size_mb:.1f} MB"),
        Row(f"{title}: process, opened and asked", opened_s, "s", 1.5 if is_compiled else None),
        Row(f"{title}: its memory", opened_mb, "MB", 250 if is_compiled else None),
        *(
            asked(title, case, found, folder / "bundle", table.sample(count, random_state=1))
            for count in ROUNDS
        ),
    ]


def opened(bundle: Path) -> tuple[float, float]:
    """Return the median seconds and MB of a process that opens a bundle and asks it its golden rows.

    A process is asked itself: what the operating system says of it has the memory of this one in it.
    """
    samples = []
    for _ in range(STARTS + 1):
        start = time.perf_counter()
        words = [sys.executable, "-c", OPENED, str(bundle)]
        done = subprocess.run(words, env=environment(), stdout=subprocess.PIPE, check=True)
        samples.append((time.perf_counter() - start, int(done.stdout) / 1024))
    seconds, peaks = zip(*samples[1:], strict=True)
    return median(seconds), median(peaks)


def trained(case: Case, table: pd.DataFrame, folder: Path) -> tuple[FoundModel, Path]:
    """Fit a model on the housing table and pack it."""
    folder.mkdir(parents=True)
    (folder / "features.py").write_text(OWN)
    y = table.pop(TARGET)
    if case.task == "classification":
        y = pd.Series(np.where(y > y.median(), "high", "low"))
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    numbers = [name for name in table if name not in texts]
    schema = {name: {"type": "string" if name in texts else "float", "nullable": True} for name in table}
    features = {"numeric": {"columns": numbers}, "categorical": {"columns": texts}}
    config = load_config(
        {
            "project": {"task": case.task},
            "data": {"target": TARGET, "schema": schema | {TARGET: {"type": "float"}}},
            "features": features | case.features,
            "model": {"algorithm": case.algorithm, "hyperparameters": {case.algorithm: dict(case.settings)}},
        }
    ).at(folder)
    trainer = ModelTrainer(config)
    model = trainer.train(table, y)
    record = pack(
        model,
        folder / "package",
        algorithm=case.algorithm,
        task=config.project.task,
        target=TARGET,
        inputs=FeatureEngineer(config).inputs,
        code=trainer.code_files,
    )
    return FoundModel(model, record), folder / "package"


def asked(title: str, case: Case, found: FoundModel, bundle: Path, table: pd.DataFrame) -> Row:  # noqa: PLR0917
    """Return what a runtime takes for rows, and as a share of what scikit-learn takes."""
    runtime = open_runtime(bundle)
    rows = rows_of(table, runtime.record.inputs)
    frame = frame_of(rows, runtime.record.inputs)
    count = len(table)
    ours, theirs = in_turns(
        lambda: runtime.predict(rows), lambda: predict_rows(found.pipeline, frame), count=count
    )
    limit = case.limits[0] if count == 1 else case.limits[1]
    beside = f"{ours * 1e3:.3f} ms to {theirs * 1e3:.1f} ms"
    return Row(f"{title}: {count} rows, to scikit-learn's", ours / theirs, "", limit, beside=beside)


def in_turns(*ways: Callable[[], object], count: int) -> tuple[float, ...]:
    """Return the median seconds of ways to answer, taken in turns; one row is asked for several times."""
    seconds: list[list[float]] = [[] for _ in ways]
    for number in range(ROUNDS[count] + 1):
        for way, taken in zip(ways, seconds, strict=True):
            start = time.perf_counter()
            for _ in range(IN_A_ROW[count]):
                way()
            if number:
                taken.append((time.perf_counter() - start) / IN_A_ROW[count])
    return tuple(map(median, seconds))


if __name__ == "__main__":
    main()
