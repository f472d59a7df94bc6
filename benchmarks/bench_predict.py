"""What predicting a large file costs: 10 million rows, Parquet to Parquet, with a LightGBM model.

python benchmarks/bench_predict.py [--rows N]
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
MODELBOOK = BIN / "modelbook"
ROWS = 10_000_000


def main() -> None:
    """Measure, print the table and say by the exit code whether the rows all came back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="modelbook-bench-") as name:
        folder = Path(name)
        project, asked, answered = folder / "project", folder / "asked.parquet", folder / "answered.parquet"
        model = trained(project)
        write_rows(asked, rows)
        seconds, peak_mb = run(Command([MODELBOOK, "predict", model, asked, "--output", answered], project))
        count = pq.read_metadata(answered).num_rows
    is_whole = show(
        [
            Row(f"predict {rows:,} rows", seconds, "s"),
            Row("rows a second", count / seconds, ""),
            Row("peak of memory", peak_mb, "MB"),
            Row("rows missing", abs(rows - count), "", 0),
        ]
    )
    sys.exit(not is_whole)


def trained(project: Path) -> str:
    """Lay the example down, train LightGBM on it and return the name of the version that was registered."""
    run(Command([MODELBOOK, "init", project, "--example", "housing"], project.parent))
    words = [MODELBOOK, "--json", "run", "--no-dvc", "--set", "model.algorithm=lightgbm"]
    done = subprocess.run(words, cwd=project, env=environment(), capture_output=True, check=True)
    model = json.loads(done.stdout)["model"]
    return f"models:/{model['name']}/{model['version']}"


def write_rows(path: Path, rows: int) -> None:
    """Write the housing table over and over, without its target, until there are enough rows."""
    table = pq.read_table(TABLE).drop_columns("median_house_value")
    with pq.ParquetWriter(path, table.schema) as writer:
        for start in range(0, rows, len(table)):
            writer.write_table(table.slice(0, rows - start))


if __name__ == "__main__":
    main()
