"""How long ingest and validation take, and how much memory, for one and ten million rows.

Run `python benchmarks/bench_data.py [--table FILE] [--rows N ...] [--format parquet|csv]`. The rows of the
table are drawn again and again with a little noise, and each size is read and validated in its own process.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from modelbook.data.ingest import DataIngestor
from modelbook.data.validate import DataValidator, raise_if_failed

EXAMPLE = Path(__file__).parents[1] / "src/modelbook/scaffold/examples/housing.parquet"
TARGET = "median_house_value"
CHUNK_ROWS = 500_000
NOISE = 0.01
GIB = 1 << 30


def main() -> None:
    arguments = read_arguments()
    print(f"{'rows':>12}  {'file MB':>8}  {'ingest s':>9}  {'validate s':>10}  {'peak GiB':>8}")
    with tempfile.TemporaryDirectory(prefix="bench-data-", dir=arguments.folder) as folder:
        for rows in arguments.rows:
            source = Path(folder) / f"{rows}.parquet"
            make_table(arguments.table, source, rows)
            if arguments.format == "csv":
                source = as_csv(source)
            measure(source, rows)
            source.unlink()


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=EXAMPLE, help="the table to repeat, Parquet or CSV")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--folder", type=Path, help="where the tables are made; the system's own by default")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        raise SystemExit
    return arguments


def make_table(example: Path, path: Path, rows: int) -> None:
    table = pl.read_csv(example) if example.suffix == ".csv" else pl.read_parquet(example)
    numbers = [name for name, dtype in table.schema.items() if dtype.is_numeric()]
    random = np.random.default_rng(0)
    writer: pq.ParquetWriter | None = None
    for start in range(0, rows, CHUNK_ROWS):
        size = min(CHUNK_ROWS, rows - start)
        drawn = table[random.integers(0, table.height, size)]
        noisy = [
            (pl.col(name).cast(pl.Float64) * (1 + pl.Series(random.normal(0, NOISE, size)))).round(4)
            for name in numbers
        ]
        piece: pa.Table = drawn.with_columns(noisy).to_arrow()
        writer = writer or pq.ParquetWriter(path, piece.schema, compression="zstd")
        writer.write_table(piece)
    if writer:
        writer.close()


def as_csv(path: Path) -> Path:
    pl.scan_parquet(path).sink_csv(path.with_suffix(".csv"))
    path.unlink()
    return path.with_suffix(".csv")


def measure(source: Path, rows: int) -> None:
    """Run the work in a process of its own and print what it took."""
    command = [sys.executable, __file__, "--work", str(source)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ingest_s, validate_s, peak_bytes = output.split()
    print(
        f"{rows:>12,}  {source.stat().st_size / 1e6:>8.0f}  {float(ingest_s):>9.1f}  "
        f"{float(validate_s):>10.1f}  {int(peak_bytes) / GIB:>8.2f}",
        flush=True,
    )


def work(source: Path) -> None:
    """Read and validate a table with every kind of rule, and print seconds and peak memory."""
    config = {"data": {"source": str(source), "target": TARGET, "schema": schema(source)}}
    folder = source.parent
    start = time.perf_counter()
    DataIngestor(config).ingest_to(folder / "ingested.parquet")
    ingested = time.perf_counter()
    report = DataValidator(config).validate_file(
        folder / "ingested.parquet", folder / "valid.parquet", folder / "rejected.parquet"
    )
    raise_if_failed(report)
    validated = time.perf_counter()
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(ingested - start, validated - ingested, peak_kib * 1024)


def schema(source: Path) -> dict[str, dict[str, object]]:
    scan = pl.scan_csv(source) if source.suffix == ".csv" else pl.scan_parquet(source)
    head = scan.head(10_000).collect()
    return {
        name: {"type": "float", "min": -1e9, "max": 1e9}
        if dtype.is_numeric()
        else {"type": "string", "categories": sorted(head[name].drop_nulls().unique())}
        for name, dtype in head.schema.items()
    }


if __name__ == "__main__":
    main()
