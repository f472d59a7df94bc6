"""The rows that a model is trained on and those that it is tested on."""

import difflib
import math

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from modelbook.config import Config, ConfigLike, load_config
from modelbook.errors import DataInvalidError

Index = NDArray[np.int64]

_FEWEST_ROWS = _FEWEST_CLASSES = _FEWEST_VALUES = 2


def split_rows(table: pl.DataFrame, config: ConfigLike) -> tuple[Index, Index]:
    """Return the training rows and the test rows of a table: no row is in both, each is in one.

    `random` and `stratified` choose the rows that scikit-learn's `train_test_split` does for the same seed.
    `group` and `time` keep rows with equal values of `split.column` together and come as near to
    `split.test_size`, measured in rows, as that allows; `time` tests on the latest ones.

    Args:
        table: The valid rows (n_rows, n_columns).
        config: The settings: `split`, and the target and the task where they matter.

    Returns:
        The row numbers of the training rows and of the test rows, from 0, each int64 and sorted.

    Raises:
        DataInvalidError: There are too few rows, classes, groups or times to divide, or `split.column` is
            absent, has missing values or, for `time`, is text.

    Example:
        >>> train, test = split_rows(pl.DataFrame({"target": range(10)}), {})
        >>> train.tolist(), test.tolist()
        ([0, 2, 3, 4, 5, 6, 7, 9], [1, 8])
    """
    settings = load_config(config)
    _check_size(table, settings)
    if settings.split.method in {"group", "time"}:
        train, test = _by_value(table, settings)
    else:
        train, test = _drawn(table, settings)
    _check_training_classes(table, train, settings)
    return np.sort(train), np.sort(test)


def _drawn(table: pl.DataFrame, config: Config) -> tuple[Index, Index]:
    classes = _classes_to_keep(table, config) if config.split.method == "stratified" else None
    train, test = train_test_split(
        np.arange(table.height, dtype=np.int64),
        test_size=config.split.test_size,
        random_state=config.split.seed,
        stratify=classes,
    )
    return train, test


def _by_value(table: pl.DataFrame, config: Config) -> tuple[Index, Index]:
    """Return rows divided between whole values of `split.column`, as near to the test size as they allow."""
    codes = _codes(table, config)
    sizes = np.bincount(codes)
    if len(sizes) < _FEWEST_VALUES:
        raise DataInvalidError(
            f"a {config.split.method} split needs two different values to divide between",
            where=f"split.column: {config.split.column}",
            got="the same value in every row",
            hint="choose another column, or split.method: random",
        )
    order = np.arange(len(sizes))[::-1]
    if config.split.method == "group":
        order = np.random.default_rng(config.split.seed).permutation(len(sizes))
    # The last value is never taken, so that training has at least that one.
    tested_rows = np.cumsum(sizes[order])[:-1]
    nearest = int(np.abs(tested_rows - config.split.test_size * table.height).argmin())
    is_test = np.isin(codes, order[: nearest + 1])
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _codes(table: pl.DataFrame, config: Config) -> Index:
    """Return each row's value of `split.column` as the number of that value in sorted order."""
    name = config.split.column or ""
    if name not in table.columns:
        near = difflib.get_close_matches(name, table.columns, n=3, cutoff=0.5)
        raise DataInvalidError(
            "the table has no column to split by",
            where="split.column",
            got=f"no {name!r} among the valid columns",
            expected="a column of data.schema",
            hint=f"did you mean {', '.join(near)}?" if near else "add the column to data.schema",
        )
    column = table[name]
    if nulls := column.null_count():
        raise DataInvalidError(
            "the column to split by has missing values",
            where=f"split.column: {name}",
            got=f"{nulls} of {table.height} rows without a value",
            hint="set `nullable: false` for it in data.schema, which writes those rows aside",
        )
    if config.split.method == "time" and column.dtype == pl.String:
        raise DataInvalidError(
            "the column to split by in time is text, which has no order in time",
            where=f"split.column: {name}",
            expected="a datetime or a number",
            hint=f"set data.schema.{name}.type: datetime",
        )
    return column.rank("dense").to_numpy().astype(np.int64) - 1


def _check_size(table: pl.DataFrame, config: Config) -> None:
    test_rows = math.ceil(config.split.test_size * table.height)
    if table.height < _FEWEST_ROWS or test_rows >= table.height:
        raise DataInvalidError(
            "there are too few rows to divide into training and test rows",
            got=f"{table.height} rows, {test_rows} of them for testing by split.test_size",
            expected="at least one row on each side",
            hint="bring more rows, or choose another split.test_size",
        )


def _classes_to_keep(table: pl.DataFrame, config: Config) -> pl.Series:
    sizes = table[config.data.target].value_counts()["count"].to_numpy()
    if not has_strata(sizes, config.split.test_size):
        test_rows = math.ceil(config.split.test_size * table.height)
        raise DataInvalidError(
            "a stratified split needs a row of each class on both sides",
            where=f"data.target: {config.data.target}",
            got=f"{len(sizes)} classes, the rarest with {sizes.min()} rows; {test_rows} rows to test",
            expected="at least 2 rows of each class, and as many training and test rows as there are classes",
            hint="bring more rows of the rare classes, leave them out, or use split.method: random",
        )
    return table[config.data.target].rank("dense")


def has_strata(sizes: Index, test_size: float) -> bool:
    """Return whether classes have enough rows for a stratified split: one of each on both sides.

    Args:
        sizes: The rows of each class, `(n_classes,)`.
        test_size: The share of test rows, in (0, 1).

    Example:
        >>> has_strata(np.array([2, 8]), 0.2), has_strata(np.array([1, 9]), 0.2)
        (True, False)
    """
    n_rows = int(sizes.sum())
    test_rows = math.ceil(test_size * n_rows)
    return bool(sizes.min() >= _FEWEST_ROWS and min(test_rows, n_rows - test_rows) >= len(sizes))


def _check_training_classes(table: pl.DataFrame, train: Index, config: Config) -> None:
    if config.project.task != "classification" or config.data.target not in table.columns:
        return
    classes = table[config.data.target][train].n_unique()
    if classes < _FEWEST_CLASSES:
        raise DataInvalidError(
            "the training rows have one class only, so there is nothing to tell apart",
            where=f"data.target: {config.data.target}",
            got=f"1 class in {len(train)} training rows",
            expected="at least two",
            hint="use split.method: stratified, or bring more rows of the other classes",
        )
