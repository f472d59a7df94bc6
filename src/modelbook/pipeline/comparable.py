"""Whether two runs were tested on the same rows, as far as their records say."""

from collections.abc import Mapping
from typing import Any

from modelbook.pipeline import layout
from modelbook.records import DataVersion, Lineage

# Which rows are valid hangs on these, and on the schema; the rest of `data` says where they come from.
_VALID_BY = ("target", "duplicate_rows")


def same_test_rows(first: Lineage, other: Lineage) -> bool:
    """Return whether two runs have the same test rows on record.

    They have where the tables of test rows are equal to the byte. They also have where the same raw table was
    divided by the same settings into as many rows, and one schema has the other's columns as they are there:
    a further column can only reject rows, and their number says that it rejected none. Features are made
    later and have no part in it.

    Args:
        first: What one run came from.
        other: What the other came from.
    """
    one, two = _versions(first), _versions(other)
    if layout.TEST not in one or layout.TEST not in two:
        return False
    return one[layout.TEST].md5 == two[layout.TEST].md5 or (
        _division(first, one) == _division(other, two) and _has_one_schema(first, other)
    )


def _versions(lineage: Lineage) -> dict[str, DataVersion]:
    return {version.path: version for version in lineage.data}


def _division(lineage: Lineage, versions: Mapping[str, DataVersion]) -> tuple[Any, ...]:
    settings = lineage.config
    raw = versions.get(settings["data"]["raw"])
    rows = [versions[path].rows for path in (layout.TRAIN, layout.TEST) if path in versions]
    return raw and raw.md5, settings["split"], [settings["data"][name] for name in _VALID_BY], rows


def _has_one_schema(first: Lineage, other: Lineage) -> bool:
    schemas = [lineage.config["data"]["schema"] for lineage in (first, other)]
    if first.config["data"]["duplicate_rows"] != "keep":  # what is a duplicate hangs on every column
        return bool(schemas[0] == schemas[1])
    fewer, more = sorted(schemas, key=len)
    return all(more.get(name) == column for name, column in fewer.items())
