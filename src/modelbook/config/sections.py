"""One frozen model for each section of config.yaml; unknown keys are refused."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Task = Literal["regression", "classification"]
ColumnType = Literal["float", "integer", "boolean", "string", "datetime"]
DatePart = Literal[
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "day_of_year",
    "weekday",
    "is_weekend",
    "hour",
    "minute",
    "days_since_epoch",
    "month_cycle",
    "day_of_year_cycle",
    "weekday_cycle",
    "hour_cycle",
]
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

_MODEL_NAME = re.compile(r"\w(?:[\w .'-]*\w)?")


class Section(BaseModel):
    """A part of the configuration: frozen, unknown keys refused, numbers finite and never read from text."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        strict=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )


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
            raise ValueError(f"method {self.method} needs column")
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
        encode: `one_hot`, `ordinal`, `target` (the target's smoothed mean, cross-fitted), `native` (codes
            that the estimator is told are categories), or `auto`: one-hot up to `max_one_hot` categories,
            target encoding beyond.
        max_one_hot: The most categories that `auto` encodes one-hot.
    """

    columns: tuple[str, ...] = Field(default=(), strict=False)
    encode: Literal["auto", "one_hot", "ordinal", "target", "native"] = "auto"
    max_one_hot: Annotated[int, Field(ge=1)] = 30


class BooleanFeatures(Section):
    """True-or-false columns, used as 0 and 1."""

    columns: tuple[str, ...] = Field(default=(), strict=False)


class DatetimeFeatures(Section):
    """Date and time columns, and the parts of them that become features."""

    columns: tuple[str, ...] = Field(default=(), strict=False)
    parts: tuple[DatePart, ...] = Field(default=("year", "month", "weekday"), strict=False)


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


class EarlyStopping(Section):
    """How the number of iterations of estimators that learn step by step is found.

    Attributes:
        rounds: Iterations without an improvement on the rows held back after which it stops.
        share: The share of training rows, in (0, 1), that is held back for it.
    """

    rounds: Annotated[int, Field(ge=1)] = 50
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1


class TrainingConfig(Section):
    """How the model is fitted and recorded.

    Attributes:
        enable_mlflow: Whether runs and models are recorded in MLflow; the local record is kept either way.
        cv_folds: The folds of cross-validation on training rows; 0 does without.
        seed: The seed of everything random in the fit.
        n_jobs: Threads to fit with; -1 takes every core. The number used is recorded.
        time_budget_s: The time that an automatic search may take.
        target_transform: What is learned in the place of the target: its logarithm (of 1 + target, for
            targets of zero or more), its quantile as that of a normal distribution, or itself. Predictions
            and metrics are in the target's own units.
        early_stopping: Whether estimators that learn step by step stop where training rows that were held
            back are predicted best; they are then fitted on all training rows with that many iterations.
    """

    enable_mlflow: bool = True
    cv_folds: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    n_jobs: int = -1
    time_budget_s: Annotated[float, Field(gt=0)] | None = None
    target_transform: Literal["none", "log", "quantile"] = "none"
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.cv_folds == 1:
            raise ValueError("cv_folds 1 is no cross-validation: use 0 or at least 2")
        if self.n_jobs != -1 and self.n_jobs < 1:
            raise ValueError(f"n_jobs {self.n_jobs}: use -1 for every core or a number from 1")
        return self


class TrackingConfig(Section):
    """Where runs and models are recorded.

    Attributes:
        uri: MLflow's tracking store; None is `logs/mlflow.db`. MLFLOW_TRACKING_URI wins over it.
        experiment: The experiment that runs are recorded under.
        model_name: The name that models are registered under; commands, MLflow and a folder call them by it.
    """

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "modelbook"
    model_name: str = "model"

    @field_validator("model_name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not _MODEL_NAME.fullmatch(value):
            signs = "letters, digits and _, with blanks, dots, hyphens and ' between them"
            raise ValueError(f"a model's name has {signs}, got {value!r:.60}")
        return value


def _own_copy(source: str) -> str:
    if "://" not in source:
        return source
    url = urlsplit(source)
    name = PurePosixPath(url.path).name if url.scheme in {"http", "https"} else "table.parquet"
    return f"data/raw/{name or 'table.csv'}"
