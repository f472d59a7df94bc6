"""The settings of a project, read and validated once.

Unknown keys are refused, and every mistake is named with its path. A project's config.yaml lists every
setting; a dictionary, as used from a notebook, may leave out whatever has a default.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

from pydantic import PrivateAttr, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from modelbook.config.evaluation import EvaluationConfig, gate_mistakes
from modelbook.config.features import FeaturesConfig, feature_mistakes
from modelbook.config.sections import (
    METRICS,
    DataConfig,
    ModelConfig,
    ProjectConfig,
    Section,
    SplitConfig,
    TrackingConfig,
    TrainingConfig,
)
from modelbook.config.serving import ServingConfig
from modelbook.errors import ConfigError, NotFoundError

CONFIG_PATH = Path("config/config.yaml")

# Databases take passwords with /, ? and # in them; a port is no password.
_PASSWORD = re.compile(r"(://[^/?#@:\[]*):(?!\d+(?:[/?#]|$))[^@]*(?:@[^@/?#]*(?=@))*@")
_TOKEN = re.compile(r"(https?://)[^/?#@:]+@")
_PASSWORD_KEYS = frozenset({"passwd", "password", "pwd"})

_MESSAGES = {
    "extra_forbidden": "unknown key",
    "missing": "missing",
    "model_type": "input should be a mapping",
    "dict_type": "input should be a mapping",
    "tuple_type": "input should be a list",
    "string_type": "input should be text, in quotes if need be",
    "bool_type": "input should be true or false",
    "int_type": "input should be a whole number",
    "float_type": "input should be a number",
}


class Config(Section):
    """Every setting of a project.

    Attributes:
        project: Its name and task.
        data: The table.
        split: Training and test rows.
        features: The features.
        model: The estimator.
        training: The fit.
        evaluation: The verdict.
        tracking: The record.
        serving: The server.

    Example:
        >>> load_config({"data": {"target": "price"}}).data.target
        'price'
    """

    project: ProjectConfig = ProjectConfig()
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    serving: ServingConfig = ServingConfig()

    _root: Path = PrivateAttr(default_factory=Path.cwd)
    _environment_uri: str | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_across_sections(self) -> Self:
        if self.data.target in self.features.columns:
            raise ValueError(f"features: the target {self.data.target!r} cannot be a feature")
        unknown = sorted(set(self.features.columns) - set(self.data.columns))
        if self.data.columns and unknown:
            raise ValueError(f"features: columns that data.schema does not have: {', '.join(unknown)}")
        for mistake in feature_mistakes(self.features, self.data.columns):
            raise ValueError(f"features.{mistake}")
        strangers = sorted(set(self.evaluation.thresholds) - set(METRICS[self.project.task]))
        if strangers:
            raise ValueError(f"evaluation.thresholds: no {self.project.task} metrics: {', '.join(strangers)}")
        for mistake in gate_mistakes(self.evaluation.gate, self.project.task, self.data.columns):
            raise ValueError(f"evaluation.gate.{mistake}")
        if self.split.method == "stratified" and self.project.task != "classification":
            raise ValueError("split.method: stratified is for classification")
        if self.training.target_transform != "none" and self.project.task != "regression":
            raise ValueError("training.target_transform: only numbers are transformed, set it to none")
        return self

    @property
    def root(self) -> Path:
        """The project's folder, absolute."""
        return self._root

    def path(self, relative: str | Path) -> Path:
        """Return a path of the project as an absolute one."""
        return self._root / relative

    def at(self, root: Path) -> Self:
        """Return the same settings for another folder.

        Example:
            >>> load_config({}).at(Path("/tmp")).path("models")
            PosixPath('/tmp/models')
        """
        moved = self.model_copy()
        moved._root = root  # noqa: SLF001 (its own class)
        return moved

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking store: MLFLOW_TRACKING_URI, `tracking.uri` or the project's own database.

        A SQLite file in `tracking.uri` is looked for from the project's folder, as every path in the settings
        is; one in MLFLOW_TRACKING_URI from the current folder, as MLflow does.
        """
        uri = self._environment_uri or self.tracking.uri or "sqlite:///logs/mlflow.db"
        if self._environment_uri or not uri.startswith("sqlite:///"):
            return uri
        return f"sqlite:///{self._root / uri.removeprefix('sqlite:///')}"

    def as_dict(self) -> dict[str, Any]:
        """Return every setting, defaults included, in YAML's names; passwords in URLs are masked.

        What is no finite number is text, as in the JSON of a record: the hash tells `.inf` from `null`.
        """
        dumped = json.dumps(self.model_dump(mode="json", by_alias=True))
        settings: dict[str, Any] = json.loads(dumped, parse_constant=str)
        for section, key in (("data", "source"), ("tracking", "uri")):
            settings[section][key] = mask_password(settings[section][key])
        return settings

    @property
    def sha256(self) -> str:
        """The hash of the resolved settings in canonical form: as Python's JSON with the keys sorted."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


ConfigLike = str | Path | Mapping[str, Any] | Config


def load_config(source: ConfigLike, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the validated settings of a project.

    Args:
        source: A config file or a project's folder; a dictionary of settings, whose project is the current
            folder; or a Config, returned as it is.
        environ: Where MLFLOW_TRACKING_URI is looked up.

    Raises:
        ConfigError: The settings are wrong; each mistake is named with its path. Or a file holds a password.
        NotFoundError: There is no such file.
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, Mapping):
        return validate(source, root=Path.cwd(), environ=environ, where="the given settings")
    path = Path(source)
    if path.is_dir():
        path = path / CONFIG_PATH
    root = path.absolute().parent
    root = root.parent if root.name == CONFIG_PATH.parent.name else root
    config = validate(parse_yaml(read_text(path), path), root=root, environ=environ, where=str(path))
    refuse_passwords(config, path)
    return config


def refuse_passwords(config: Config, path: Path) -> None:
    """Refuse a password in a config file: git keeps the file, and the record of every run quotes it.

    Raises:
        ConfigError: An address in it holds one.
    """
    kept = {
        "data.source": (config.data.source, "~/.pgpass, PGPASSWORD or ~/.netrc"),
        "tracking.uri": (
            config.tracking.uri,
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the address in MLFLOW_TRACKING_URI",
        ),
    }
    mistakes = tuple(
        f"{key}: a password stands in the address; keep it in {place}"
        for key, (url, place) in kept.items()
        if url and _holds_password(url)
    )
    if mistakes:
        raise ConfigError(
            "the config file holds a password, which every run would record",
            mistakes=mistakes,
            where=str(path),
            hint="leave it out; where it was committed or part of a run, commit that and change the password",
        )


def _holds_password(url: str) -> bool:
    """Return whether a URL has a password in the clear, before its host or in its query."""
    pairs = parse_qsl(url.partition("?")[2]) if "://" in url else []
    is_in_query = any(key.lower() in _PASSWORD_KEYS and value != "***" for key, value in pairs)
    return is_in_query or _PASSWORD.sub(r"\1:***@", url) != url


def mask_password(url: str | None) -> str | None:
    """Return a URL without its secrets: three stars for its password and for each value that its query gives.

    Before `@` a web address has a token where it has no password; that is masked too.

    Example:
        >>> mask_password("postgresql://ann:secret@localhost/db?sslmode=require")
        'postgresql://ann:***@localhost/db?sslmode=***'
        >>> mask_password("https://secret@localhost/data.csv")
        'https://***@localhost/data.csv'
    """
    if url is None or "://" not in url:
        return url
    url = _TOKEN.sub(r"\1***@", _PASSWORD.sub(r"\1:***@", url))
    head, mark, rest = url.partition("?")
    query, sharp, fragment = rest.partition("#")
    masked = urlencode([(key, "***") for key, _ in parse_qsl(query, keep_blank_values=True)], safe="*")
    return f"{head}{mark}{masked}{sharp}{fragment}"


def remove_password(url: str) -> str:
    """Return a URL without the password before its host or in its query.

    Example:
        >>> remove_password("postgresql://ann:secret@localhost/db?sslmode=require&password=secret")
        'postgresql://ann@localhost/db?sslmode=require'
    """
    if "://" not in url:
        return url
    head, mark, query = _PASSWORD.sub(r"\1@", url).partition("?")
    kept = [pair for pair in query.split("&") if pair.partition("=")[0].lower() not in _PASSWORD_KEYS]
    return head + (mark if kept else "") + "&".join(kept)


def spell(value: Any) -> str:
    """Return a setting as YAML spells it: on one line, without the secrets of a URL.

    Example:
        >>> spell(None), spell(True), spell("ridge"), spell([1, 2.5])
        ('null', 'true', 'ridge', '[1, 2.5]')
    """
    if isinstance(value, str):
        return mask_password(value) or ""
    return json.dumps(value, ensure_ascii=False, default=str)


def read_text(path: Path) -> str:
    """Return what a config file says.

    Raises:
        ConfigError: It cannot be read.
        NotFoundError: There is no such file.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "run this in a project's folder or name one with -C; `modelbook init DIR` makes one"
        raise NotFoundError("there is no config file", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the config file cannot be read", where=str(path), mistakes=(str(error),)
        ) from error


def parse_yaml(text: str, path: Path) -> Mapping[str, Any]:
    """Return the sections that a config file's text holds.

    Raises:
        ConfigError: It is no YAML, or no mapping.
    """
    try:
        document = load_yaml(text)
    except ValueError as error:
        raise ConfigError(
            "the config file is not YAML",
            where=str(path),
            mistakes=(str(error),),
            hint="mend it there and run the command again",
        ) from None
    if not isinstance(document, Mapping):
        raise ConfigError(
            "the config file is not a mapping of sections",
            where=str(path),
            hint="compare it with the one that `modelbook init` writes",
        )
    return document


def load_yaml(text: str) -> Any:
    """Return what YAML says.

    Raises:
        ValueError: It is no YAML; the message says where and why, on one line.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (YAMLError, ValueError) as error:
        raise ValueError(str(error).partition("\n")[0]) from None


def validate(settings: Mapping[str, Any], *, root: Path, environ: Mapping[str, str], where: str) -> Config:
    """Return settings as a Config.

    Args:
        settings: The settings.
        root: The project's folder.
        environ: Where MLFLOW_TRACKING_URI is looked up.
        where: What to name in errors.

    Raises:
        ConfigError: They are wrong; each mistake is named with its path.
    """
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        mistakes = tuple(_mistake(detail) for detail in error.errors(include_url=False))
        noun = "mistake" if len(mistakes) == 1 else "mistakes"
        raise ConfigError(
            f"the configuration has {len(mistakes)} {noun}",
            mistakes=mistakes,
            where=where,
            hint="mend them and run the command again",
        ) from None
    config._root = root  # noqa: SLF001 (its own module)
    config._environment_uri = environ.get("MLFLOW_TRACKING_URI") or None  # noqa: SLF001
    return config


def _mistake(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    message = _MESSAGES.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if detail["type"] in {"value_error", "missing", "extra_forbidden"}:
        return f"{path}: {message}" if path else message
    return f"{path}: {message}, got {detail['input']!r:.60}"
