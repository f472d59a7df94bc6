"""Settings written into config.yaml, as `--set` does: comments and layout stay."""

import os
import re
from collections.abc import Mapping
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from modelbook.config.settings import (
    Config,
    load_yaml,
    parse_yaml,
    read_text,
    refuse_passwords,
    validate,
)
from modelbook.errors import ConfigError
from modelbook.files import write_whole

_NAME = re.compile(r'\.(?:"([^"]+)"(?=\.|$)|([^.]*))')


class Proposal(NamedTuple):
    """What writing settings into a config file would come to.

    Attributes:
        text: The file as it would then read.
        config: The settings as they would then be.
        changes: Old and new value by key, of those that would change.
    """

    text: str
    config: Config
    changes: dict[str, tuple[Any, Any]]


def propose_values(
    path: Path, assignments: Mapping[str, str], *, environ: Mapping[str, str] = os.environ
) -> Proposal:
    """Return what `set_values` would write, without writing it.

    Raises:
        ConfigError: A key is unknown or a value is not accepted.
        NotFoundError: There is no such file.
    """
    return propose_changes(read_text(path), assignments, path=path, environ=environ)


def propose_changes(
    text: str, assignments: Mapping[str, str], *, path: Path, environ: Mapping[str, str] = os.environ
) -> Proposal:
    """Return what writing settings into a config file of this text would come to.

    Args:
        text: What the file says.
        assignments: Dotted keys and their values as YAML, as `set_values` takes them.
        path: The file, whatever it says by now.
        environ: Where MLFLOW_TRACKING_URI is looked up.

    Raises:
        ConfigError: A key is unknown or a value is not accepted.
    """
    before = parse_yaml(text, path)
    expected = deepcopy(before)
    yaml = _round_trip_yaml()
    document = yaml.load(text)
    for key, value in assignments.items():
        parsed = _parse_value(key, value)
        _assign(expected, _names(key), parsed)
        _assign(document, _names(key), _on_one_line(parsed))
    config = validate(expected, root=path.absolute().parent.parent, environ=environ, where=str(path))
    refuse_passwords(config, path)
    pairs = {key: (_look_up(before, key), _look_up(expected, key)) for key in assignments}
    # 1, 1.0 and true are equal to Python, and not to an estimator.
    changes = {key: (old, new) for key, (old, new) in pairs.items() if repr(old) != repr(new)}
    if not changes:
        return Proposal(text, config, changes)
    buffer = StringIO()
    yaml.dump(document, buffer)
    _check_reads_as(buffer.getvalue(), expected, path)
    return Proposal(buffer.getvalue(), config, changes)


def set_values(path: Path, assignments: Mapping[str, str]) -> dict[str, tuple[Any, Any]]:
    """Write settings into a config file, keeping its comments, and return old and new value by key.

    Args:
        path: The config file.
        assignments: Dotted keys and their values as YAML, as in `{"model.algorithm": "lightgbm"}`. A name
            with dots of its own stands in double quotes, as in `data.schema."area.m2".min`.

    Raises:
        ConfigError: A key is unknown or a value is not accepted; the file is left as it was.
        NotFoundError: There is no such file.
    """
    proposal = propose_values(path, assignments)
    if proposal.changes:
        write_whole(path.resolve(), proposal.text.encode())
    return proposal.changes


class _Representer(RoundTripRepresenter):
    """Writes null as `null`, where ruamel.yaml would write nothing."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _round_trip_yaml() -> YAML:
    """Return a YAML that keeps comments, quotes and the layout that `modelbook init` writes."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    yaml.preserve_quotes = True
    return yaml


def _on_one_line(value: Any) -> Any:
    """Return a value that is written on one line, with every text in it that is no word in quotes.

    As a block, or without the quotes, YAML's writer makes something else of some values.
    """
    if isinstance(value, Mapping):
        mapping = CommentedMap((_quoted(key), _quoted(_on_one_line(entry))) for key, entry in value.items())
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq(_quoted(_on_one_line(entry)) for entry in value)
        sequence.fa.set_flow_style()
        return sequence
    return value


def _quoted(value: Any) -> Any:
    is_word = not isinstance(value, str) or re.fullmatch(r"[A-Za-z_]\w*", value)
    return value if is_word else DoubleQuotedScalarString(value)


def _check_reads_as(text: str, expected: Mapping[str, Any], path: Path) -> None:
    try:
        is_same = load_yaml(text) == expected
    except ValueError:
        is_same = False
    if not is_same:
        raise ConfigError(
            "a setting cannot be written so that it reads as given",
            where=str(path),
            hint="write it into the file by hand",
        )


def _parse_value(key: str, text: str) -> Any:
    try:
        return load_yaml(text)
    except ValueError as error:
        raise ConfigError(
            "a value is not YAML",
            mistakes=(f"{key}: {error}",),
            hint="put text with a colon or a sign in it in quotes, and those in quotes of the shell",
        ) from None


def _names(key: str) -> list[str]:
    """Return the names that a dotted key is made of; one with dots of its own stands in double quotes."""
    # After a dot at the front, each name follows one; findall sees the quoted form first.
    return [quoted or plain for quoted, plain in _NAME.findall(f".{key}")]


def _assign(document: Any, keys: list[str], value: Any) -> None:
    *parents, last = keys
    for key in parents:
        if not isinstance(document.get(key), Mapping):
            document[key] = {}
        document = document[key]
    document[last] = value


def _look_up(document: Any, key: str) -> Any:
    for part in _names(key):
        document = document.get(part) if isinstance(document, Mapping) else None
    return document
