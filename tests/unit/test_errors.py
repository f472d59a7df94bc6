import inspect
import re

import pytest

from modelbook import errors
from modelbook.errors import ConfigError, DataInvalidError, ModelbookError, NotFoundError

CLASSES = [
    cls
    for cls in vars(errors).values()
    if inspect.isclass(cls) and issubclass(cls, ModelbookError) and cls.__module__ == errors.__name__
]


def test_what_an_error_says():
    """An error says what, where, got, expected and the next step, one a line, and nothing that it lacks."""
    error = DataInvalidError(
        "one column is missing", where="data.csv", got="a, b", expected="a, b, c", hint="add it"
    )
    assert str(error).splitlines() == [
        "one column is missing",
        "  where:    data.csv",
        "  got:      a, b",
        "  expected: a, b, c",
        "  next:     add it",
    ]
    assert str(ModelbookError("it failed")) == "it failed"


def test_what_a_config_error_says():
    """A ConfigError lists every mistake between what failed and where."""
    error = ConfigError(
        "2 mistakes", mistakes=("a: unknown key", "b: missing"), where="c.yaml", hint="mend them"
    )
    assert str(error).splitlines() == [
        "2 mistakes",
        "  - a: unknown key",
        "  - b: missing",
        "  where:    c.yaml",
        "  next:     mend them",
    ]
    assert error.as_dict()["got"] == "a: unknown key; b: missing"


def test_fields_as_data():
    """`as_dict` gives every field by the name that it has in the text, None where there is nothing to say."""
    assert NotFoundError("no such run", where="abc").as_dict() == {
        "code": "not_found",
        "exit_code": 5,
        "what": "no such run",
        "where": "abc",
        "got": None,
        "expected": None,
        "next": None,
    }


def test_length_is_bounded():
    """However much an error is given, each of its fields stays short and says that it was cut."""
    long = "x" * 100_000
    error = ConfigError(long, mistakes=(long, long), where=long, hint=long)
    assert len(str(error)) < 4000
    assert error.what.endswith("…")
    assert all(mistake.endswith("…") for mistake in error.mistakes)


@pytest.mark.parametrize("cls", CLASSES)
def test_the_tree_in_the_docstring(cls: type[ModelbookError]):
    """The docstring draws every class with the exit code that it has."""
    drawn = dict(re.findall(r"(\w+Error) +exit (\d)", errors.__doc__ or ""))
    assert drawn[cls.__name__] == str(cls.exit_code)


def test_codes_tell_errors_apart():
    """No two classes share a code, and every exit code is one of the contract's."""
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)
    assert {cls.exit_code for cls in CLASSES} == set(range(1, 10))
