"""A request that is not answered with predictions: which status it gets, and what it is told."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from modelbook.errors import ModelbookError

MISTAKES_NAMED = 20
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    421: "MISDIRECTED_REQUEST",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Mistake(NamedTuple):
    """What is wrong with a value, without the value.

    Attributes:
        column: A column of the model.
        row: The place of the row among those sent, from 0; None where the whole column is meant.
        problem: What was expected, and what kind of thing was got.
    """

    column: str
    row: int | None
    problem: str

    def __str__(self) -> str:
        place = "" if self.row is None else f", row {self.row}"
        return f"column {self.column!r}{place}: {self.problem}"


class RequestRefusedError(ModelbookError):
    """A request is not answered with predictions.

    Args:
        what: Why, as one sentence without a full stop and without anything that was sent.
        status: The HTTP status.
        cause: One word for it, as metrics count it.
        mistakes: The first of the mistakes in the rows.
        mistakes_found: How many there are in all.
        retry_after_s: When the same may go well, in seconds; None where it will not.

    Example:
        >>> RequestRefusedError("wrong", mistakes=[Mistake("rooms", 3, "got text")]).message
        "wrong: column 'rooms', row 3: got text"
    """

    code = "request"

    def __init__(
        self,
        what: str,
        *,
        status: int = 400,
        cause: str = "body",
        mistakes: Sequence[Mistake] = (),
        mistakes_found: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(what)
        self.status = status
        self.cause = cause
        self.mistakes = tuple(mistakes[:MISTAKES_NAMED])
        self.mistakes_found = len(mistakes) if mistakes_found is None else mistakes_found
        self.retry_after_s = retry_after_s

    @property
    def message(self) -> str:
        """What the client is told on one line."""
        if not self.mistakes:
            return self.what
        more = self.mistakes_found - len(self.mistakes)
        named = "; ".join(map(str, self.mistakes))
        return f"{self.what}: {named}" + (f"; and {more} more" if more else "")

    def body(self, request_id: str) -> bytes:
        """Return the answer's JSON, in the words of MLflow's errors and with the mistakes one by one."""
        return orjson.dumps(
            {
                "error_code": _CODES.get(self.status, "BAD_REQUEST"),
                "message": self.message,
                "mistakes": [mistake._asdict() for mistake in self.mistakes],
                "mistakes_found": self.mistakes_found,
                "request_id": request_id,
            }
        )
