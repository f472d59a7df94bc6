"""What the doctor says of one thing."""

from modelbook.errors import ModelbookError
from modelbook.records import Record


class Finding(Record):
    """One thing that was looked at.

    Attributes:
        name: What.
        is_well: Whether it is as it should be.
        detail: What was found.
        hint: What to do, where something is amiss.
    """

    name: str
    is_well: bool
    detail: str
    hint: str = ""


def well(name: str, detail: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(name=name, is_well=True, detail=detail)


def amiss(name: str, detail: str, hint: str) -> Finding:
    """Return that something is not as it should be, and what to do."""
    return Finding(name=name, is_well=False, detail=detail, hint=hint)


def failed(name: str, error: ModelbookError) -> Finding:
    """Return what an error says of a thing."""
    got = error.as_dict()["got"] or error.where
    return amiss(name, f"{error.what}: {got}", error.hint or "")
