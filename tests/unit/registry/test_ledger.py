"""The ledger: every change to it is found and named, and it says what was in production before."""

from datetime import UTC, datetime

import pytest

from modelbook.errors import ModelbookError
from modelbook.registry.ledger import (
    Aliases,
    LedgerEntry,
    Mover,
    differences,
    find_faults,
    hash_of,
    head_of,
    production_line,
    read_entries,
    read_line,
    read_mirror,
    seal,
    stages_of,
    write_mirror,
)

MOMENT = datetime(2026, 11, 22, 9, 5, 7, tzinfo=UTC)


def a_ledger(*moves):
    """Return the lines of a ledger of moves like `promote 3` or `rollback 2`, all of them to production."""
    lines, production = [], None
    for number, move in enumerate(moves, start=1):
        action, version = move.split()
        entry = LedgerEntry(
            number=number,
            moment=MOMENT,
            who=Mover(user="ada", host="here"),
            action=action,
            name="houses",
            version=version,
            stage="Production",
            before=Aliases(production=production),
            after=Aliases(production=version),
            previous=hash_of(lines[-1]) if lines else "",
        )
        lines.append(seal(entry))
        production = version
    return lines


@pytest.fixture
def lines():
    return a_ledger("promote 1", "promote 2", "promote 3", "promote 4", "promote 5")


def test_a_whole_ledger(lines):
    """Nothing is wrong with a ledger as it was written, and each entry reads back as it was."""
    assert find_faults(lines, head=head_of(lines)) == []
    assert [entry.version for entry in read_entries(lines)] == ["1", "2", "3", "4", "5"]
    assert [seal(entry) for entry in read_entries(lines)] == lines


@pytest.mark.parametrize("place", [0, 30, 64, 66, 90, -2, -1])
@pytest.mark.parametrize("number", [1, 3, 5])
def test_one_byte_changed(lines, place, number):
    """A changed byte is found, in the hash, in the blank behind it or in the entry, and the entry named."""
    line = lines[number - 1]
    at = place % len(line)
    lines[number - 1] = line[:at] + ("1" if line[at] != "1" else "2") + line[at + 1 :]
    assert find_faults(lines) == [f"entry {number} was changed: it is not what its hash says"]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_one_line_removed(lines, number):
    """A missing entry is named."""
    head = head_of(lines)
    del lines[number - 1]
    assert find_faults(lines, head=head) == [f"entry {number} is missing"]


def test_two_swapped(lines):
    """Two entries in each other's place are named."""
    lines[1], lines[2] = lines[2], lines[1]
    assert find_faults(lines) == ["entries 3 and 2 stand in the wrong order"]


def test_swapped_far_apart(lines):
    """Entries swapped over others are found, too."""
    lines[0], lines[4] = lines[4], lines[0]
    assert find_faults(lines)


def test_the_end_cut_off(lines):
    """What was cut off at the end shows in what was noted of the end."""
    head = head_of(lines)
    assert find_faults(lines[:3]) == []
    assert find_faults(lines[:3], head=head) == [
        "entry 4 is missing: the end was cut off",
        "entry 5 is missing: the end was cut off",
    ]
    assert find_faults([], head=head)


def test_an_entry_there_twice(lines):
    """A doubled entry is named."""
    assert find_faults([*lines, lines[-1]]) == ["entry 5 is there twice"]


def test_an_entry_replaced_with_a_right_hash_of_its_own(lines):
    """Who writes an entry anew, hash included, is found by the entry that follows it."""
    forged = read_line(lines[2]).model_copy(update={"reason": "never mind"})
    lines[2] = seal(forged)
    assert find_faults(lines) == ["entry 4 does not follow the entry 3 that stands there"]


def test_the_last_entry_replaced(lines):
    """The last entry, written anew, is another than was noted."""
    head = head_of(lines)
    lines[-1] = seal(read_line(lines[-1]).model_copy(update={"reason": "never mind"}))
    assert find_faults(lines, head=head) == ["entry 5 is not the one that was noted as the last"]


def test_a_ledger_written_anew_is_another_than_the_copy(lines):
    """A ledger that was forged from some entry on shows beside the project's copy, which may be behind."""
    forged = [*lines[:3], *a_ledger("promote 1", "promote 2", "promote 3", "promote 9", "promote 5")[3:]]
    assert differences(dict(enumerate(forged, start=1)), lines) == [
        "entry 4 is another one in the store than in the project's copy",
        "entry 5 is another one in the store than in the project's copy",
    ]
    assert differences(dict(enumerate(lines, start=1)), lines[:2]) == []
    assert differences(dict(enumerate(lines[:4], start=1)), lines) == [
        "entry 5 is missing in the store: the project's copy has it"
    ]


def test_an_entry_of_another_modelbook():
    """An entry with fields that are unknown here is no fault: it is said that Modelbook has to be updated."""
    import hashlib

    content = '{"number": 1, "colour": "blue"}'
    line = f"{hashlib.sha256(content.encode()).hexdigest()} {content}"
    with pytest.raises(ModelbookError, match="another version of Modelbook"):
        read_line(line)


@pytest.mark.parametrize(
    ("moves", "line"),
    [
        ([], []),
        (["promote 1"], ["1"]),
        (["promote 1", "promote 2", "promote 3"], ["1", "2", "3"]),
        (["promote 1", "promote 2", "promote 3", "rollback 2"], ["1", "2"]),
        (["promote 1", "promote 2", "promote 3", "rollback 2", "rollback 1"], ["1"]),
        (["promote 1", "promote 2", "rollback 1", "promote 3"], ["1", "3"]),
        (["promote 1", "promote 2", "promote 1"], ["1", "2", "1"]),
        (["promote 1", "promote 2", "promote 1", "rollback 2"], ["1", "2"]),
    ],
)
def test_what_was_in_production(moves, line):
    """A rollback takes back what came after, so the one after it goes further back."""
    assert production_line(read_entries(a_ledger(*moves))) == line


def test_what_was_put_in_production_past_modelbook():
    """A version that an entry found in production counts, although no entry brought it there."""
    (entry,) = read_entries(a_ledger("promote 2"))
    found = entry.model_copy(update={"before": Aliases(production="1")})
    assert production_line([found]) == ["1", "2"]


def test_the_stages_that_a_ledger_gives(lines):
    """What lost its alias is archived, what never had one has no stage."""
    stages = stages_of(read_entries(lines[:3]), Aliases(production="3", staging="4"))
    assert stages == {"1": "Archived", "2": "Archived", "3": "Production", "4": "Staging"}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe no text\n", b"torn"])
def test_a_damaged_copy_reads(tmp_path, content):
    """A copy that is no text, empty or cut off in a line is read, so that it can be said what is wrong."""
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(content)
    lines = read_mirror(path)
    assert bool(find_faults(lines)) == bool(content.strip())
    write_mirror(path, lines)


def test_a_copy_reads_back(tmp_path, lines):
    """What was written is read."""
    path = tmp_path / "houses" / "ledger.jsonl"
    assert read_mirror(path) == ()
    write_mirror(path, lines)
    assert list(read_mirror(path)) == lines
