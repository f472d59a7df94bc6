"""What users call a model: NAME, NAME/VERSION, NAME@ALIAS."""

import re
from dataclasses import dataclass

from modelbook.errors import NotFoundError, UsageError

PRODUCTION = "production"
STAGING = "staging"

_REFERENCE = re.compile(r"(?P<name>[^/@:]+)(?:/(?P<version>[^/@:]+)|@(?P<alias>[^/@:]+))?")


@dataclass(frozen=True)
class Reference:
    """A reference to a registered model, in its parts."""

    name: str
    version: str | None
    alias: str | None


def parse_reference(text: str) -> Reference:
    """Return the parts of a reference.

    Raises:
        UsageError: It is none.

    Example:
        >>> parse_reference("houses@production").alias
        'production'
    """
    if (found := _REFERENCE.fullmatch(text)) is None:
        raise UsageError(
            "that is no reference to a model",
            got=text,
            expected="NAME, NAME/VERSION or NAME@ALIAS, also with models:/ before it, or runs:/RUN_ID",
            hint="`modelbook models` lists what there is",
        )
    return Reference(**found.groupdict())


def is_local(version: str | None) -> bool:
    """Return whether a version is one of the local registry's names.

    Example:
        >>> is_local("v_20261121_090507"), is_local("3")
        (True, False)
    """
    return version is not None and version.startswith("v_")


def no_such_model(ref: str) -> NotFoundError:
    """Return the error that says so."""
    hint = "`modelbook models` and `modelbook runs` list what there is"
    return NotFoundError("there is no such model", where=ref, hint=hint)
