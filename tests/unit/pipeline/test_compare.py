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
