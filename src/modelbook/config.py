"""The settings of a project: one frozen model per section of config.yaml, read and validated once.

Unknown keys are refused, and every mistake is named with its path. A project's config.yaml lists every
setting; a dictionary, as used from a notebook, may leave out whatever has a default.
"""

import hashlib
import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from modelbook.errors import ConfigError, NotFoundError
from modelbook.files import write_whole

CONFIG_PATH = Path("config/config.yaml")

Task = Literal["regression", "classification"]
ColumnType = Literal["float", "integer", "boolean", "string", "datetime"]
METRICS: dict[Task, tuple[str, ...]] = {
    "regression": ("rmse", "mae", "r2_score", "mape"),
    "classification": ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"),
}
MetricName = Literal[
    "rmse",
    "mae",
    "r2_score",
    "mape",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "log_loss",
]


class Section(BaseModel):
    """A part of the configuration: frozen, unknown keys refused, numbers never read from text."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=True)


class ProjectConfig(Section):
    """What the project is called and what it predicts."""

    name: Annotated[str, Field(min_length=1)] = "modelbook"
    task: Task = "regression"


class ColumnSchema(Section):
    """What validation holds one column to.

    Attributes:
        type: The type that the column is read as.
        nullable: Whether a missing value is accepted.
        min: The smallest accepted value, for numbers.
        max: The largest accepted value, for numbers.
        categories: The accepted values of a text column; None accepts any.
        unique: Whether no value may occur twice.
    """

    type: ColumnType
    nullable: bool = True
    min: float | None = None
    max: float | None = None
    categories: tuple[str, ...] | None = Field(default=None, strict=False)
    unique: bool = False

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is larger than max {self.max}")
        return self


class DataConfig(Section):
    """Where the table comes from and what is expected of it.

    Attributes:
        source: A file, an http(s) URL, or a database URL (`sqlite:///…`, `postgresql://…`) used with `query`.
        raw: The project's own copy of the source, which DVC tracks and the pipeline reads. Where it is not
            given, a file is its own copy, and what a URL or a query brings is put under data/raw.
        query: The SQL query, for a database source.
        sha256: The hash that an http(s) source must have, as 64 hexadecimal digits.
        target: The column to predict.
        columns: The schema, one entry a column (`schema` in YAML); columns it does not name are left out.
        on_bad_rows: `reject` writes bad rows aside and goes on; `fail` stops at the first kind found.
        max_rejected_share: The share of rejected rows, in [0, 1], above which validation fails anyway.
        min_rows: The fewest valid rows to go on with.
        duplicate_rows: What to do with a row that equals an earlier one.
        max_target_correlation: The absolute correlation with the target, in (0, 1], from which a column is
            reported as leaking it.
        min_class_share: The share of rows, in [0, 1], below which a class is reported as rare.
    """

    source: str = "data/raw/table.csv"
    raw: str = "data/raw/table.csv"
    query: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    target: str = "target"
    columns: dict[str, ColumnSchema] = Field(default_factory=dict, alias="schema")
    on_bad_rows: Literal["reject", "fail"] = "reject"
    max_rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    min_rows: Annotated[int, Field(ge=2)] = 20
    duplicate_rows: Literal["keep", "reject"] = "keep"
    max_target_correlation: Annotated[float, Field(gt=0, le=1)] = 0.999
    min_class_share: Annotated[float, Field(ge=0, le=1)] = 0.01

    @model_validator(mode="before")
    @classmethod
    def _place_raw(cls, settings: Any) -> Any:
        if isinstance(settings, Mapping) and "raw" not in settings:
            source = settings.get("source")
            if isinstance(source, str):
                return {**settings, "raw": _own_copy(source)}
        return settings


class SplitConfig(Section):
    """How rows are divided into training and test rows.

    Attributes:
        method: `random`; `stratified` keeps the classes' shares; `group` keeps equal values of `column`
            together; `time` tests on the latest rows by `column`.
        test_size: The share of test rows, in (0, 1).
        seed: The seed of the shuffle.
        column: The column of `group` and `time`.
    """

    method: Literal["random", "stratified", "group", "time"] = "random"
    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    column: str | None = None

    @model_validator(mode="after")
    def _check_column(self) -> Self:
        if self.method in {"group", "time"} and not self.column:
            raise ValueError(f"split.method {self.method} needs split.column")
        return self


class NumericFeatures(Section):
    """Number columns: how gaps are filled and how they are scaled."""

    columns: tuple[str, ...] = Field(default=(), strict=False)
    impute: Literal["median", "mean", "zero", "none"] = "median"
    scale: Literal["standard", "robust", "minmax", "none"] = "standard"


class CategoricalFeatures(Section):
    """Text columns: how they become numbers.

    Attributes:
        columns: The columns.
        encode: `one_hot`, `ordinal`, `target` (the target's smoothed mean, cross-fitted), or `auto`:
            one-hot up to `max_one_hot` categories, target encoding beyond.
        max_one_hot: The most categories that `auto` encodes one-hot.
    """

    columns: tuple[str, ...] = Field(default=(), strict=False)
    encode: Literal["auto", "one_hot", "ordinal", "target"] = "auto"
    max_one_hot: Annotated[int, Field(ge=1)] = 30


class BooleanFeatures(Section):
    """True-or-false columns, used as 0 and 1."""

    columns: tuple[str, ...] = Field(default=(), strict=False)


class DatetimeFeatures(Section):
    """Date and time columns, and the parts of them that become features."""

    columns: tuple[str, ...] = Field(default=(), strict=False)
    parts: tuple[Literal["year", "month", "day", "weekday", "hour", "days_since_epoch"], ...] = Field(
        default=("year", "month", "weekday"), strict=False
    )


class Ratio(Section):
    """One number column divided by another, as a further feature."""

    numerator: str
    denominator: str


class FeaturesConfig(Section):
    """Which columns become features, and how.

    Attributes:
        numeric: Number columns.
        categorical: Text columns.
        boolean: True-or-false columns.
        datetime: Date and time columns.
        ratios: Features made by dividing one number column by another.
        custom: The name of a transformer class in features.py, given the table before everything else.
        left_out: Columns that are not used, each with the reason.
    """

    numeric: NumericFeatures = NumericFeatures()
    categorical: CategoricalFeatures = CategoricalFeatures()
    boolean: BooleanFeatures = BooleanFeatures()
    datetime: DatetimeFeatures = DatetimeFeatures()
    ratios: tuple[Ratio, ...] = Field(default=(), strict=False)
    custom: str | None = None
    left_out: dict[str, str] = Field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns that the model takes, in the order of the roles."""
        roles = (self.numeric, self.categorical, self.boolean, self.datetime)
        return tuple(column for role in roles for column in role.columns)

    @model_validator(mode="after")
    def _check_roles(self) -> Self:
        named = [*self.columns, *self.left_out]
        twice = sorted({column for column in named if named.count(column) > 1})
        if twice:
            raise ValueError(f"columns with more than one role: {', '.join(twice)}")
        numeric = set(self.numeric.columns)
        wanted = {name for ratio in self.ratios for name in (ratio.numerator, ratio.denominator)}
        if strangers := sorted(wanted - numeric):
            raise ValueError(f"ratios of columns that are not numeric features: {', '.join(strangers)}")
        return self


class ModelConfig(Section):
    """The estimator and its settings.

    Attributes:
        algorithm: A name of the catalogue, or of an estimator class in features.py.
        hyperparameters: For each algorithm the settings that differ from its defaults.
    """

    algorithm: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "random_forest"
    hyperparameters: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def chosen(self) -> dict[str, Any]:
        """The settings of the chosen algorithm."""
        return dict(self.hyperparameters.get(self.algorithm, {}))


class TrainingConfig(Section):
    """How the model is fitted and recorded.

    Attributes:
        enable_mlflow: Whether runs and models are recorded in MLflow; the local record is kept either way.
        cv_folds: The folds of cross-validation on training rows; 0 does without.
        seed: The seed of everything random in the fit.
        n_jobs: Threads to fit with; -1 takes every core. The number used is recorded.
        time_budget_s: The time that an automatic search may take.
    """

    enable_mlflow: bool = True
    cv_folds: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    n_jobs: int = -1
    time_budget_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.cv_folds == 1:
            raise ValueError("cv_folds 1 is no cross-validation: use 0 or at least 2")
        if self.n_jobs != -1 and self.n_jobs < 1:
            raise ValueError(f"n_jobs {self.n_jobs}: use -1 for every core or a number from 1")
        return self


class Threshold(Section):
    """The limits that a test metric must keep to."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a threshold needs min, max or both")
        return self


class GateConfig(Section):
    """What a model must pass to be registered, beyond the thresholds."""


class EvaluationConfig(Section):
    """How the model is judged.

    Attributes:
        thresholds: Limits by metric name, held against the test metrics.
        positive_class: The class that precision, recall and ROC are about; None takes the last, sorted.
        gate: What a model must pass to be registered, beyond the thresholds.
    """

    thresholds: dict[MetricName, Threshold] = Field(default_factory=dict)
    positive_class: str | int | bool | None = None
    gate: GateConfig = GateConfig()


class TrackingConfig(Section):
    """Where runs and models are recorded.

    Attributes:
        uri: MLflow's tracking store; None is `logs/mlflow.db`. MLFLOW_TRACKING_URI wins over it.
        experiment: The experiment that runs are recorded under.
        model_name: The name that models are registered under.
    """

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "modelbook"
    model_name: Annotated[str, Field(min_length=1, pattern="^[^/:]+$")] = "model"


class ServingConfig(Section):
    """Where a served model listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 5001


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
    return _validate(_read_yaml(path), root=root, environ=environ, where=str(source))


def set_values(path: Path, assignments: Mapping[str, str]) -> dict[str, tuple[Any, Any]]:
    """Write settings into a config file, keeping its comments, and return old and new value by key.

    Args:
        path: The config file.
        assignments: Dotted keys and their values as YAML, as in `{"model.algorithm": "lightgbm"}`.

    Raises:
        ConfigError: A key is unknown or a value is not accepted; the file is left as it was.
    """
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    document = yaml.load(path.read_text(encoding="utf-8"))
    changes = {}
    for key, text in assignments.items():
        changes[key] = _assign(document, key.split("."), _parse_scalar(key, text))
    buffer = StringIO()
    yaml.dump(document, buffer)
    _validate(_parse_yaml(buffer.getvalue(), path), root=path.parent.parent, environ={}, where=str(path))
    write_whole(path, buffer.getvalue().encode())
    return {key: change for key, change in changes.items() if change[0] != change[1]}


def mask_password(url: str | None) -> str | None:
    """Return a URL with its password replaced by three stars, and anything else unchanged.

    Example:
        >>> mask_password("postgresql://ann:secret@localhost/db")
        'postgresql://ann:***@localhost/db'
    """
    if url is None or "://" not in url:
        return url
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


def _own_copy(source: str) -> str:
    if "://" not in source:
        return source
    url = urlsplit(source)
    name = PurePosixPath(url.path).name if url.scheme in {"http", "https"} else "table.parquet"
    return f"data/raw/{name or 'table.csv'}"


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "run this in a project's folder or name one with -C; `modelbook init DIR` makes one"
        raise NotFoundError("there is no config file", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the config file cannot be read", where=str(path), mistakes=(str(error),)
        ) from error
    return _parse_yaml(text, path)


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
