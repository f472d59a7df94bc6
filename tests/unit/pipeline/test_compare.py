"""What differs between two runs, of what their records hold."""

import pytest

from modelbook.pipeline import compare
from modelbook.records import CodeState


@pytest.mark.parametrize(("patches", "count"), [((b"+ a = 1", b"+ a = 2"), 1), ((b"+ a = 1", b"+ a = 1"), 0)])
def test_uncommitted_changes_are_told_apart(make_metadata, patches, count):
    """Two runs from one commit, both changed since, are of one code where their patches are equal."""
    states = [CodeState(commit="0" * 40, branch="main", is_dirty=True, patch=patch) for patch in patches]
    runs = [make_metadata(lineage={"code": state}) for state in states]
    found = compare._contrasts(runs, compare._code)
    assert [line.name for line in found] == ["code and settings"] * count


def test_a_schema_that_differs_is_a_setting_that_differs(make_metadata):
    """It decides which rows count; among a run's parameters it would be too long."""
    schemas = [{"price": {"type": "float", "max": most}, "area": {"type": "float"}} for most in (5.0, 9.0)]
    runs = [make_metadata(lineage={"config": {"data": {"schema": schema}}}) for schema in schemas]
    found = compare._contrasts(runs, compare._settings)
    assert [(line.name, line.values) for line in found] == [("data.schema.price.max", ("5.0", "9.0"))]
