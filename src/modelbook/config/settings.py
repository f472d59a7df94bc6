"""The settings of a project, read and validated once.

Unknown keys are refused, and every mistake is named with its path. A project's config.yaml lists every
setting; a dictionary, as used from a notebook, may leave out whatever has a default.
"""

import hashlib
import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from pydantic import PrivateAttr, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from modelbook.config.sections import (
    METRICS,
    DataConfig,
    EvaluationConfig,
    FeaturesConfig,
    ModelConfig,
    ProjectConfig,
    Section,
    ServingConfig,
    SplitConfig,
    TrackingConfig,
    TrainingConfig,
)
from modelbook.errors import ConfigError, NotFoundError
from modelbook.files import write_whole

CONFIG_PATH = Path("config/config.yaml")


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
        strangers = sorted(set(self.evaluation.thresholds) - set(METRICS[self.project.task]))
        if strangers:
            raise ValueError(f"evaluation.thresholds: no {self.project.task} metrics: {', '.join(strangers)}")
        if self.split.method == "stratified" and self.project.task != "classification":
            raise ValueError("split.method: stratified is for classification")
        return self

    @property
    def root(self) -> Path:
        """The project's folder, absolute."""
        return self._root

    def path(self, relative: str | Path) -> Path:
        """Return a path of the project as an absolute one."""
        return self._root / relative

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking store: MLFLOW_TRACKING_URI, `tracking.uri` or the project's own database."""
        default = f"sqlite:///{self._root / 'logs' / 'mlflow.db'}"
        return self._environment_uri or self.tracking.uri or default

    def as_dict(self) -> dict[str, Any]:
        """Return every setting, defaults included, in YAML's names; passwords in URLs are masked."""
        settings = self.model_dump(mode="json", by_alias=True)
        for section, key in (("data", "source"), ("tracking", "uri")):
            settings[section][key] = mask_password(settings[section][key])
        return settings

    @property
    def sha256(self) -> str:
        """The hash of the resolved settings in canonical form (JSON, keys sorted)."""
        canonical = orjson.dumps(self.as_dict(), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()


ConfigLike = str | Path | Mapping[str, Any] | Config


def load_config(source: ConfigLike, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the validated settings of a project.

    Args:
        source: A config file or a project's folder; a dictionary of settings, whose project is the current
            folder; or a Config, returned as it is.
        environ: Where MLFLOW_TRACKING_URI is looked up.

    Raises:
        ConfigError: The settings are wrong; each mistake is named with its path.
        NotFoundError: There is no such file.
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, Mapping):
        return _validate(source, root=Path.cwd(), environ=environ, where="the given settings")
    path = Path(source)
    if path.is_dir():
        path = path / CONFIG_PATH
    root = path.absolute().parent
    root = root.parent if root.name == CONFIG_PATH.parent.name else root
    return _validate(_parse_yaml(_read_text(path), path), root=root, environ=environ, where=str(source))


def set_values(path: Path, assignments: Mapping[str, str]) -> dict[str, tuple[Any, Any]]:
    """Write settings into a config file, keeping its comments, and return old and new value by key.

    Args:
        path: The config file.
        assignments: Dotted keys and their values as YAML, as in `{"model.algorithm": "lightgbm"}`.

    Raises:
        ConfigError: A key is unknown or a value is not accepted; the file is left as it was.
        NotFoundError: There is no such file.
    """
    text = _read_text(path)
    _parse_yaml(text, path)
    yaml = _round_trip_yaml()
    document = yaml.load(text)
    changes = {}
    for key, value in assignments.items():
        changes[key] = _assign(document, key.split("."), _parse_scalar(key, value))
    buffer = StringIO()
    yaml.dump(document, buffer)
    _validate(_parse_yaml(buffer.getvalue(), path), root=path.parent.parent, environ={}, where=str(path))
    write_whole(path, buffer.getvalue().encode())
    return {key: change for key, change in changes.items() if change[0] != change[1]}


def mask_password(url: str | None) -> str | None:
    """Return a URL without its secrets: three stars for its password and for each value that its query gives.

    Example:
        >>> mask_password("postgresql://ann:secret@localhost/db?sslmode=require")
        'postgresql://ann:***@localhost/db?sslmode=***'
    """
    if url is None or "://" not in url:
        return url
    parts = urlsplit(url)
    account, separator, _ = parts.netloc.rpartition("@")
    if ":" in account:
        url = url.replace(f"{account}{separator}", f"{account.partition(':')[0]}:***@", 1)
    if parts.query:
        masked = urlencode(
            [(key, "***") for key, _ in parse_qsl(parts.query, keep_blank_values=True)], safe="*"
        )
        url = url.replace(f"?{parts.query}", f"?{masked}", 1)
    return url


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "run this in a project's folder or name one with -C; `modelbook init DIR` makes one"
        raise NotFoundError("there is no config file", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the config file cannot be read", where=str(path), mistakes=(str(error),)
        ) from error


def _parse_yaml(text: str, path: Path) -> Mapping[str, Any]:
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(
            "the config file is not YAML", where=str(path), mistakes=(f"{place}{error.problem}",)
        ) from None
    if not isinstance(document, Mapping):
        raise ConfigError(
            "the config file is not a mapping of sections",
            where=str(path),
            hint="compare it with the one that `modelbook init` writes",
        )
    return document


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


def _parse_scalar(key: str, text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        raise ConfigError("a value is not YAML", mistakes=(f"{key}: {error.problem}",)) from None


def _assign(document: Any, keys: list[str], value: Any) -> tuple[Any, Any]:
    *parents, last = keys
    for key in parents:
        if not isinstance(document.get(key), Mapping):
            document[key] = {}
        document = document[key]
    old = document.get(last)
    document[last] = value
    return old, value


def _validate(settings: Mapping[str, Any], *, root: Path, environ: Mapping[str, str], where: str) -> Config:
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
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown key"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if detail["type"] == "value_error":
        return f"{path}: {message}" if path else message
    return f"{path}: {message}, got {detail['input']!r:.60}"
