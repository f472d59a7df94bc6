from importlib.resources import files
from pathlib import Path

import polars as pl

COLUMNS = [
    "longitude",
    "latitude",
    "housing_median_age",
    "total_rooms",
    "total_bedrooms",
    "population",
    "households",
    "median_income",
    "median_house_value",
]


def housing() -> pl.DataFrame:
    return pl.read_parquet((files("modelbook.scaffold") / "examples" / "housing.parquet").read_bytes())


def test_housing_shape():
    """Nine number columns, 20,640 rows, no gaps, counts whole."""
    table = housing()
    assert table.shape == (20_640, 9)
    assert table.columns == COLUMNS
    assert table.null_count().sum_horizontal().item() == 0
    whole = table.select(COLUMNS[2:7])
    assert whole.equals(whole.select(pl.all().round()))


def test_housing_equals_the_census(shared_data: Path):
    """Every value is that of the ten-column form of the table, where that one has it."""
    census = pl.read_csv(shared_data / "housing.csv").select(COLUMNS)
    table = housing()
    differences = {name: (table[name] != census[name]).sum() for name in COLUMNS}
    assert differences == dict.fromkeys(COLUMNS, 0)
    assert census["total_bedrooms"].null_count() == 207
