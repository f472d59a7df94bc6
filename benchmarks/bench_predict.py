"""What predicting a large file costs: 10 million rows, Parquet to Parquet, with a LightGBM model.

python benchmarks/bench_predict.py [--rows N]

Beside it stands what LightGBM alone needs for as many rows that are features already, in memory, with every
core: nothing that is built on it can be quicker.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

import modelbook
from harness import BIN, Command, Row, environment, run, show

TABLE = Path(modelbook.__file__).parent / "scaffold" / "examples" / "housing.parquet"
TARGET = "median_house_value"
MODELBOOK = BIN / "modelbook"
ALONE = Path(__file__).with_name("lightgbm_alone.py")
ROWS = 10_000_000
MOST_MB = 1.5 * 1024


def main() -> None:
    """Measure, print the table and say by the exit code whether the limits are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as name:
        folder = Path(name)
        project, one, asked, answered = (
            folder / part for part in ("project", "one.parquet", "asked.parquet", "answered.parquet")
        )
        model = trained(project)
        write_rows(one, 1)
        write_rows(asked, rows)
        start_s, start_mb = run(Command([MODELBOOK, "predict", model, one, "--output", answered], project))
        seconds, peak_mb = run(Command([MODELBOOK, "predict", model, asked, "--output", answered], project))
        count = pq.read_metadata(answered).num_rows
        alone_s = lightgbm_alone(project, model, rows)
    is_kept = show(
        [
            Row(f"predict {rows:,} rows", seconds, "s"),
            Row("rows a second", count / seconds, ""),
            Row("LightGBM alone", alone_s, "s", beside="features in memory, every core"),
            Row("the same for one row", start_s, "s", beside="starting, and reading the model"),
            Row("peak of memory", peak_mb, "MB"),
            Row("peak above that for one row", peak_mb - start_mb, "MB", MOST_MB),
            Row("rows missing", abs(rows - count), "", 0),
        ]
    )
    sys.exit(not is_kept)


def trained(project: Path) -> str:
    """Lay the example down, train LightGBM on it and return the name of the version that was registered."""
    run(Command([MODELBOOK, "init", project, "--example", "housing"], project.parent))
    words = [MODELBOOK, "--json", "run", "--no-dvc", "--set", "model.algorithm=lightgbm"]
    done = subprocess.run(words, cwd=project, env=environment(), stdout=subprocess.PIPE, check=True)
    model = json.loads(done.stdout)["model"]
    return f"{model['name']}/{model['local_version']}"


def write_rows(path: Path, rows: int) -> None:
    """Write the housing table over and over, without its target, until there are enough rows."""
    table = pq.read_table(TABLE).drop_columns(TARGET)
    with pq.ParquetWriter(path, table.schema) as writer:
        for start in range(0, rows, len(table)):
            writer.write_table(table.slice(0, rows - start))


def lightgbm_alone(project: Path, model: str, rows: int) -> float:
    """Return the seconds that LightGBM takes for as many rows that are features already."""
    words = [sys.executable, ALONE, model, TABLE, str(rows)]
    done = subprocess.run(words, cwd=project, env=environment(), stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
