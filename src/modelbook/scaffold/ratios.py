"""Counts of a table that rise together, and so say more as one per the other."""

from collections.abc import Mapping, Sequence

import polars as pl

from modelbook.data.values import read_columns
from modelbook.scaffold.facts import ColumnFacts

# Columns with fewer different values are rather grades or ages than counts.
_FEWEST_VALUES = 100
_LEAST_CORRELATION = 0.8
_MOST_RATIOS = 4
# Beyond, columns are rather measurements of one kind, as a picture's, than counts of several.
_MOST_COUNTS = 30


def find_ratios(table: pl.LazyFrame, facts: Sequence[ColumnFacts]) -> tuple[tuple[str, str], ...]:
    """Return the ratios worth trying: numerator and denominator of each.

    The denominator is the count with the smallest mean, of those that rise with another one: what the others
    are counted of. Two counts rise together where the logarithms of 1 + count correlate with at least 0.8.

    Args:
        table: The table.
        facts: Those of number columns that are going to be features, in the table's order.

    Example:
        >>> from modelbook.scaffold.facts import measure
        >>> homes = [number * 7 % 300 for number in range(300)]
        >>> table = pl.LazyFrame({"rooms": [3 * count + count % 3 for count in homes], "homes": homes})
        >>> find_ratios(table, measure(table))
        (('rooms', 'homes'),)
    """
    counts = [fact for fact in facts if _is_count(fact)]
    if not 1 < len(counts) <= _MOST_COUNTS:
        return ()
    names = [fact.name for fact in counts]
    readings = read_columns(table, {fact.name: fact.type for fact in counts if fact.type})
    values = {name: readings[name].value.cast(pl.Float64) for name in names}
    means = table.select(value.mean().alias(name) for name, value in values.items())
    for unit, _ in sorted(
        means.collect(engine="streaming").row(0, named=True).items(), key=lambda item: item[1]
    ):
        if above := _rising_with(unit, table, values):
            return tuple((name, unit) for name in above[:_MOST_RATIOS])
    return ()


def _is_count(fact: ColumnFacts) -> bool:
    return fact.is_whole and fact.min is not None and fact.min >= 0 and fact.distinct > _FEWEST_VALUES


def _rising_with(unit: str, table: pl.LazyFrame, values: Mapping[str, pl.Expr]) -> list[str]:
    others = [name for name in values if name != unit]
    query = [pl.corr(values[unit].log1p(), values[name].log1p()).alias(name) for name in others]
    found = table.select(query).collect(engine="streaming").row(0, named=True)
    return [name for name in others if (found[name] or 0) >= _LEAST_CORRELATION]
