"""Every error that Modelbook raises on purpose.

    ModelbookError                exit 1   something else went wrong; the root of the tree
    ├── UsageError                exit 2   a command or a function was called in a way it does not take
    │   └── ConfigError           exit 2   config.yaml is wrong; every mistake is named with its path
    ├── DataError                 exit 3   the data cannot be used
    │   ├── DataReadError         exit 3   a source cannot be read: absent, cut off, of the wrong hash
    │   └── DataInvalidError      exit 3   the table was read, and breaks the schema beyond what is allowed
    ├── GateRejectedError         exit 4   the model misses a threshold, so it is not registered
    ├── NotFoundError             exit 5   no such run, model or version
    ├── NotReproducedError        exit 6   a result could not be made again
    ├── TrackingStoreError        exit 7   the tracking store cannot be used
    │   └── StoreAwayError        exit 7   it does not answer, or not in time: the same may go well later
    ├── ModelRefusedError         exit 8   a model is not loaded: it is not what was recorded
    ├── ProjectBusyError          exit 9   another run holds the project
    ├── NotReadyError             exit 1   no model is there to answer with yet: ask again in a while
    └── StorageError              exit 1   a file cannot be written: a read-only folder, a full disk

Each error says what failed, where, what was got, what was expected and what to do next; none of them holds
values from a user's rows.
"""

from typing import ClassVar

_MAX_FIELD_LENGTH = 600


class ModelbookError(Exception):
    """The root: catching it catches everything that Modelbook raises on purpose.

    Args:
        what: What failed, as one sentence without a full stop.
        where: The file, config path, column or command concerned.
        got: What was found there.
        expected: What should have been there.
        hint: What the user can do next.
    """

    code: ClassVar[str] = "unexpected"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: str | None = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = _bounded(what) or ""
        self.where = _bounded(where)
        self.got = _bounded(got)
        self.expected = _bounded(expected)
        self.hint = _bounded(hint)

    def __str__(self) -> str:
        lines = [self.what]
        fields = {
            "where": self.where,
            "got": self.got,
            "expected": self.expected,
            "next": self.hint,
        }
        lines += [f"  {label + ':':<10}{text}" for label, text in fields.items() if text]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the fields as `--json` prints them."""
        return {
            "code": self.code,
            "exit_code": self.exit_code,
            "what": self.what,
            "where": self.where,
            "got": self.got,
            "expected": self.expected,
            "next": self.hint,
        }


class UsageError(ModelbookError):
    """A command or a function was called in a way it does not take."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """The configuration is wrong.

    Args:
        what: What failed.
        mistakes: Every mistake found, each as `path: what is wrong`.
        where: The config file.
        hint: What the user can do next.
    """

    code = "config"

    def __init__(
        self,
        what: str,
        *,
        mistakes: tuple[str, ...] = (),
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.mistakes = tuple(_bounded(mistake) or "" for mistake in mistakes)

    def __str__(self) -> str:
        head, *rest = super().__str__().split("\n")
        return "\n".join([head, *(f"  - {mistake}" for mistake in self.mistakes), *rest])

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the fields as `--json` prints them, the mistakes as what was got."""
        return super().as_dict() | {"got": "; ".join(self.mistakes) or None}


class DataError(ModelbookError):
    """The data cannot be used."""

    code = "data"
    exit_code = 3


class DataReadError(DataError):
    """A source cannot be read: absent, cut off, not what its name says, of the wrong hash."""

    code = "data.read"


class DataInvalidError(DataError):
    """The table was read, and breaks the schema beyond what the policy allows."""

    code = "data.invalid"


class GateRejectedError(ModelbookError):
    """The model misses a threshold; it is recorded as rejected and not registered."""

    code = "gate.rejected"
    exit_code = 4


class NotFoundError(ModelbookError):
    """There is no such run, model or version."""

    code = "not_found"
    exit_code = 5


class NotReproducedError(ModelbookError):
    """A recorded result could not be made again."""

    code = "not_reproduced"
    exit_code = 6


class TrackingStoreError(ModelbookError):
    """The tracking store cannot be used."""

    code = "tracking_store"
    exit_code = 7


class StoreAwayError(TrackingStoreError):
    """The tracking store does not answer, or not in time, or breaks down: the same may go well later."""

    code = "tracking_store.away"


class ModelRefusedError(ModelbookError):
    """A model is not loaded: its digest or its content is not what was recorded."""

    code = "model_refused"
    exit_code = 8


class ProjectBusyError(ModelbookError):
    """Another run holds the project."""

    code = "busy"
    exit_code = 9


class NotReadyError(ModelbookError):
    """A server has no model to answer with yet."""

    code = "not_ready"


class StorageError(ModelbookError):
    """A file cannot be written: a read-only folder, a full disk."""

    code = "storage"


def _bounded(text: str | None) -> str | None:
    if text is None or len(text) <= _MAX_FIELD_LENGTH:
        return text
    return text[: _MAX_FIELD_LENGTH - 1] + "…"
