"""The ledger of a model's way to production and back: a line for each move, chained to the last by its hash.

A line is the SHA-256 of an entry's JSON, a blank, and that JSON, which holds the hash of the line before.
Lines are only ever added. MLflow's store keeps them where there is one, and the project keeps a copy.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from modelbook.errors import ModelbookError
from modelbook.files import write_whole
from modelbook.records import GateCheck, GateVerdict, Record, Stage

LEDGER_FILE = "ledger.jsonl"


class Aliases(Record):
    """The versions that are in production and in staging; None where no version is."""

    production: str | None = None
    staging: str | None = None


class Mover(Record):
    """Who moved a version: the user, and the machine that it was done on."""

    user: str
    host: str


class LedgerEntry(Record):
    """One move of one version.

    Attributes:
        number: Its number in the ledger, from 1.
        moment: When.
        who: Who did it, and where.
        action: What was asked for.
        name: The model.
        version: MLflow's number; the local version where the project does without MLflow.
        local_version: The local registry's name of it, where it has one.
        digest: The digest of its fitted state.
        run_id: The run that made it.
        commit: The git commit that it was made from.
        stage_before: Where it came from.
        stage: Where it went.
        before: What was in production and in staging.
        after: What is from then on.
        reason: Why, in the user's words.
        forced: What spoke against it, and was overridden.
        gate: What the gate said of it.
        checks: The numbers behind that, those of the challenge among them.
        previous: The hash of the line before; empty in the first.
    """

    number: int
    moment: datetime
    who: Mover
    action: Literal["promote", "rollback"]
    name: str
    version: str
    local_version: str | None = None
    digest: str | None = None
    run_id: str | None = None
    commit: str | None = None
    stage_before: Stage = "None"
    stage: Stage
    before: Aliases
    after: Aliases
    reason: str | None = None
    forced: tuple[str, ...] = ()
    gate: GateVerdict = GateVerdict.NONE
    checks: tuple[GateCheck, ...] = ()
    previous: str = ""


def seal(entry: LedgerEntry) -> str:
    """Return the line of an entry."""
    content = entry.model_dump_json(exclude_defaults=True)
    return f"{hashlib.sha256(content.encode()).hexdigest()} {content}"


def hash_of(line: str) -> str:
    """Return the hash that a line begins with.

    Example:
        >>> hash_of('0a1b {"number": 1}')
        '0a1b'
    """
    return line.partition(" ")[0]


def read_line(line: str) -> LedgerEntry | None:
    """Return the entry of a line; None where the line is not what its hash says.

    Raises:
        ModelbookError: Another version of Modelbook wrote it.
    """
    sha256, _, content = line.partition(" ")
    if hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest() != sha256:
        return None
    try:
        return LedgerEntry.model_validate_json(content)
    except ValidationError as error:
        raise ModelbookError(
            "the ledger was written by another version of Modelbook",
            got=str(error).partition("\n")[0],
            hint="update Modelbook",
        ) from error


def read_entries(lines: Iterable[str]) -> tuple[LedgerEntry, ...]:
    """Return the entries of those lines that are what their hashes say."""
    return tuple(entry for line in lines if (entry := read_line(line)) is not None)


def find_faults(lines: Sequence[str], *, head: str | None = None) -> list[str]:
    """Return what is wrong with a ledger: changed, missing, doubled, swapped and cut off entries, one each.

    Args:
        lines: Its lines, in their order.
        head: Number and hash of its last entry, as they are noted elsewhere; None where nobody noted them.

    Example:
        >>> find_faults(['0a1b {"number": 1}'])
        ['entry 1 was changed: it is not what its hash says']
    """
    numbers: list[int] = []
    entries = [read_line(line) for line in lines]
    faults = []
    for entry in entries:
        expected = numbers[-1] + 1 if numbers else 1
        if entry is None:
            faults.append(f"entry {expected} was changed: it is not what its hash says")
        numbers.append(entry.number if entry else expected)
    faults += _order_faults(numbers)
    faults += _chain_faults(lines, entries)
    return faults + _end_faults(lines, numbers, head)


def production_line(entries: Iterable[LedgerEntry]) -> list[str]:
    """Return the versions that were in production one after the other, the present one last.

    A rollback takes back what came after the version that it went to, so that one after the other goes
    further back. What was put in production past Modelbook counts as soon as an entry tells of it.
    """
    brought: list[str] = []
    for entry in entries:
        if entry.stage != "Production":
            continue
        if entry.action == "rollback":
            while brought and brought[-1] != entry.version:
                brought.pop()
            former = []
        else:
            former = [entry.before.production] if entry.before.production else []
        brought += [version for version in former if brought[-1:] != [version]]
        brought += [entry.version] if brought[-1:] != [entry.version] else []
    return brought


def former_versions(entries: Iterable[LedgerEntry], production: str | None) -> list[str]:
    """Return the versions that rollbacks would go back to one after the other, the latest first.

    Args:
        entries: The ledger.
        production: The version in production.
    """
    line = production_line(entries)
    if line and line[-1] == production:
        line.pop()
    return [version for version in reversed(line) if version != production]


def stages_of(entries: Iterable[LedgerEntry], aliases: Aliases) -> dict[str, Stage]:
    """Return the stage of each version that a ledger names; a version that lost its alias is archived."""
    stages: dict[str, Stage] = {}
    for entry in entries:
        named = (entry.version, entry.before.production, entry.before.staging)
        stages |= {version: "Archived" for version in named if version}
    if aliases.staging:
        stages[aliases.staging] = "Staging"
    if aliases.production:
        stages[aliases.production] = "Production"
    return stages


def head_of(lines: Sequence[str]) -> str | None:
    """Return number and hash of the last line, as they are noted beside a ledger; None for an empty one."""
    entry = read_line(lines[-1]) if lines else None
    return f"{entry.number} {hash_of(lines[-1])}" if entry else None


def read_mirror(path: Path) -> tuple[str, ...]:
    """Return the lines of a project's copy of a ledger; none where there is no such file."""
    if not path.is_file():
        return ()
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return tuple(text.removesuffix("\n").split("\n")) if text else ()


def write_mirror(path: Path, lines: Iterable[str]) -> None:
    """Write a project's copy of a ledger, whole or not at all.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    write_whole(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def differences(store: Mapping[int, str], mirror: Sequence[str]) -> list[str]:
    """Return in what a store's ledger is at odds with the project's copy, which may be behind.

    Lines that are damaged in themselves are left to `find_faults`.
    """
    copies = {entry.number: line for line in mirror if (entry := read_line(line))}
    faults = []
    for number, line in sorted(copies.items()):
        if number not in store:
            faults.append(f"entry {number} is missing in the store: the project's copy has it")
        elif store[number] != line and read_line(store[number]) is not None:
            faults.append(f"entry {number} is another one in the store than in the project's copy")
    return faults


def _order_faults(numbers: Sequence[int]) -> list[str]:
    faults = [
        f"entry {number} is missing" for number in range(1, max(numbers, default=0)) if number not in numbers
    ]
    faults += [
        f"entry {number} is there twice" for number in sorted(set(numbers)) if numbers.count(number) > 1
    ]
    return faults + [
        f"entries {one} and {other} stand in the wrong order"
        for one, other in pairwise(numbers)
        if one > other
    ]


def _chain_faults(lines: Sequence[str], entries: Sequence[LedgerEntry | None]) -> list[str]:
    """Return which entries follow the right number and another entry than they say."""
    hashes = {entry.number: hash_of(line) for line, entry in zip(lines, entries, strict=True) if entry}
    return [
        f"entry {entry.number} does not follow the entry {entry.number - 1} that stands there"
        for entry in entries
        if entry
        and hashes.get(entry.number - 1, "" if entry.number == 1 else entry.previous) != entry.previous
    ]


def _end_faults(lines: Sequence[str], numbers: Sequence[int], head: str | None) -> list[str]:
    if head is None:
        return []
    number, _, sha256 = head.partition(" ")
    last = max(numbers, default=0)
    if not number.isdecimal():
        return ["what is noted of its end cannot be read"]
    if last < int(number):
        return [
            f"entry {missing} is missing: the end was cut off" for missing in range(last + 1, int(number) + 1)
        ]
    entry = next((line for line, found in zip(lines, numbers, strict=True) if found == int(number)), "")
    is_other = read_line(entry) is not None and hash_of(entry) != sha256
    return [f"entry {number} is not the one that was noted as the last"] if is_other else []
