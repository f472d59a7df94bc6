"""What a sweep tries: settings by their dotted key, each with its values or the range that they come from."""

import json
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from modelbook.config import Config, spell
from modelbook.config.settings import load_yaml
from modelbook.errors import ConfigError, NotFoundError, UsageError
from modelbook.models.spaces import SPACES, default_space
from modelbook.records import Record

_WITHOUT_RESULT = ("tracking", "serving", "training.enable_mlflow", "training.n_jobs")
_SLOWEST = ("project", "data", "split", "features", "training.seed")
_FORMAT = "a list of values, or {low: 0.01, high: 0.3, log: true} with log and step as wanted"


class Choice(Record):
    """Values to choose from, each as JSON."""

    choices: tuple[str, ...]


class Range(Record):
    """Numbers between two ends, both included; whole ones where both ends and the step are whole.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether equal ratios count as equal distances, rather than equal differences.
        step: The distance between two of them; None takes any.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int | float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check_ends(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, got {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log and step do not go together")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))


Space = Mapping[str, Choice | Range]
Point = Mapping[str, str]

_SPACE: TypeAdapter[dict[str, Choice | Range]] = TypeAdapter(dict[str, Choice | Range])


def parse_grid(assignments: Iterable[tuple[str, str]]) -> dict[str, Choice | Range]:
    """Return the space of a grid.

    Args:
        assignments: Dotted keys, each with its values as YAML, separated by commas.

    Raises:
        UsageError: A key comes twice, or its values are none.

    Example:
        >>> parse_grid([("training.seed", "1, 2")])["training.seed"].choices
        ('1', '2')
    """
    space: dict[str, Choice | Range] = {}
    for key, text in assignments:
        if key in space:
            raise UsageError("a key is swept twice", got=key, hint="give all of its values to one --grid")
        values = _values(key, text)
        choices = tuple(dict.fromkeys(_as_json(value) for value in values))
        space[key] = Choice(choices=choices)
    _check_keys(space, where="--grid")
    return space


def read_space(path: Path) -> dict[str, Choice | Range]:
    """Return the space that a YAML file describes.

    Raises:
        ConfigError: It is no YAML, or describes none; every mistake is named with its key.
        NotFoundError: There is no such file.
    """
    try:
        document = load_yaml(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError(
            "there is no such space file", where=str(path), hint="name a YAML file, or leave --space out"
        ) from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError("the space file cannot be read", where=str(path), mistakes=(str(error),)) from None
    if not isinstance(document, Mapping) or not document:
        raise ConfigError(
            "the space file names no settings",
            where=str(path),
            mistakes=(f"expected a dotted key a line, each with {_FORMAT}",),
        )
    space = as_space(document, where=str(path))
    _check_keys(space, where=str(path))
    return space


def default_space_of(config: Config) -> dict[str, Choice | Range]:
    """Return what a search tries where nobody says: the hyperparameters of the chosen algorithm.

    Raises:
        UsageError: Nothing is known of that algorithm.
    """
    algorithm = config.model.algorithm
    found = default_space(algorithm, config.project.task)
    if not found:
        known = ", ".join(sorted([*SPACES, "linear"]))
        raise UsageError(
            f"there is no default space for {algorithm}",
            where="model.algorithm",
            expected=f"one of {known}, or a space of your own",
            hint="write one into a YAML file and name it with --space; `auto` is a search itself",
        )
    prefix = f"model.hyperparameters.{algorithm}"
    return as_space({f"{prefix}.{name}": entry for name, entry in found.items()}, where="the catalogue")


def as_space(document: Mapping[Any, Any], *, where: str) -> dict[str, Choice | Range]:
    """Return the space of a mapping from keys to lists of values or ranges.

    Raises:
        ConfigError: It describes none; every mistake is named with its key.

    Example:
        >>> as_space({"training.seed": {"low": 1, "high": 9}}, where="here")["training.seed"].is_whole
        True
    """
    space: dict[str, Choice | Range] = {}
    mistakes: list[str] = []
    for key, entry in document.items():
        try:
            space[str(key)] = _entry(entry)
        except ValidationError as error:
            mistakes += [f"{key}: {_said(detail)}" for detail in error.errors(include_url=False)]
        except ValueError as error:
            mistakes.append(f"{key}: {error}")
    if mistakes:
        raise ConfigError(
            "the space to search is not as it should be",
            mistakes=tuple(mistakes),
            where=where,
            hint=f"give each key {_FORMAT}",
        )
    return space


def slowest_first(space: Space) -> dict[str, Choice | Range]:
    """Return a space with what rows and features are made by before the rest: its points share them longest.

    Example:
        >>> list(slowest_first(parse_grid([("model.algorithm", "a,b"), ("features.numeric.scale", "x,y")])))
        ['features.numeric.scale', 'model.algorithm']
    """

    def place(key: str) -> int:
        return next((at for at, name in enumerate(_SLOWEST) if key.startswith(name)), len(_SLOWEST))

    return {key: space[key] for key in sorted(space, key=place)}


def points_of(space: Space) -> list[dict[str, str]]:
    """Return every point of a grid, the last key varying fastest.

    Example:
        >>> points_of(parse_grid([("a.b", "1,2"), ("c.d", "x,y")]))[1]
        {'a.b': '1', 'c.d': '"y"'}
    """
    values = [entry.choices for entry in space.values() if isinstance(entry, Choice)]
    return [dict(zip(space, point, strict=True)) for point in product(*values)]


def probes_of(space: Space) -> list[dict[str, str]]:
    """Return points that between them have every value and both ends of every range."""
    ends = {key: _ends(entry) for key, entry in space.items()}
    count = max(map(len, ends.values()))
    return [{key: values[place % len(values)] for key, values in ends.items()} for place in range(count)]


def decoded(point: Point) -> dict[str, Any]:
    """Return a point with its values as they are, rather than as JSON."""
    return {key: json.loads(value) for key, value in point.items()}


def describe_point(point: Point) -> str:
    """Return swept settings as people read them, each by the last of its names.

    Example:
        >>> describe_point({"training.seed": "7", "features.numeric.scale": '"robust"'})
        'seed 7, scale robust'
    """
    settings = decoded(point)
    names = short_names(settings)
    return ", ".join(f"{names[key]} {spell(value)}" for key, value in settings.items())


def short_names(keys: Mapping[str, Any]) -> dict[str, str]:
    """Return the last name of each dotted key, and all of it where another key ends the same.

    Example:
        >>> short_names({"a.seed": 1, "b.seed": 2, "b.scale": 3})
        {'a.seed': 'a.seed', 'b.seed': 'b.seed', 'b.scale': 'scale'}
    """
    last = {key: key.rpartition(".")[2] for key in keys}
    return {key: name if list(last.values()).count(name) == 1 else key for key, name in last.items()}


def dump_space(space: Space) -> str:
    """Return a space as JSON, the same for the same space."""
    return _SPACE.dump_json(dict(space)).decode()


def _entry(entry: Any) -> Choice | Range:
    if isinstance(entry, Mapping) and "choices" in entry:
        if len(entry) > 1:
            raise ValueError("choices stand alone, without low, high, log or step")
        entry = entry["choices"]
    if isinstance(entry, list):
        if not entry:
            raise ValueError("no values to choose from")
        return Choice(choices=tuple(dict.fromkeys(_as_json(value) for value in entry)))
    if not isinstance(entry, Mapping):
        raise ValueError(f"expected {_FORMAT}, got {entry!r:.60}")  # noqa: TRY004 (gathered with the others)
    return Range.model_validate(dict(entry))


def _said(detail: Any) -> str:
    path = f"{detail['loc'][0]}: " if detail["loc"] else ""
    known = {"missing": "missing", "extra_forbidden": "unknown"}
    message = known.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    return f"{path}{message[:1].lower()}{message[1:]}"


def _values(key: str, text: str) -> list[Any]:
    try:
        values = load_yaml(f"[{text}]")
    except ValueError as error:
        raise UsageError(
            "the values to sweep are not YAML",
            where=f"--grid {key}",
            got=f"{text} ({error})",
            expected="a,b,c",
        ) from None
    if not isinstance(values, list) or not text.strip():
        raise UsageError("there are no values to sweep", where=f"--grid {key}", got=text, expected="a,b,c")
    return values


def _check_keys(space: Space, *, where: str) -> None:
    """Refuse settings that bear on no result, or that the sweep itself decides."""
    strangers = [key for key in space if key.startswith(_WITHOUT_RESULT)]
    if strangers:
        raise UsageError(
            "a setting that bears on no result is not swept",
            where=where,
            got=", ".join(strangers),
            expected="settings of data, split, features, model or training",
        )


def _ends(entry: Choice | Range) -> tuple[str, ...]:
    return entry.choices if isinstance(entry, Choice) else (_as_json(entry.low), _as_json(entry.high))


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
