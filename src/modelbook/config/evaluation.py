"""How a model is judged: thresholds, slices, the smoke test, and what a promotion asks for."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from modelbook.config.sections import METRICS, ColumnSchema, ColumnType, MetricName, Section, Task


class Threshold(Section):
    """The limits that a test metric must keep to."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a threshold needs min, max or both")
        return self


class SliceThreshold(Section):
    """The limits that a metric must keep to in every group of a slice.

    Attributes:
        min: The smallest accepted value.
        max: The largest accepted value.
        max_worse: How much worse than on all test rows the metric may be, as a share of its value there:
            0.2 lets an RMSE be 20 % larger and an accuracy 20 % smaller.
    """

    min: float | None = None
    max: float | None = None
    max_worse: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.min is None and self.max is None and self.max_worse is None:
            raise ValueError("a slice's threshold needs min, max or max_worse")
        return self


class SliceConfig(Section):
    """A column whose groups of test rows are judged one by one.

    Attributes:
        column: A column of `data.schema`; it need not be a feature.
        bins: Into how many groups of about equal size a number or date column is cut; None makes each value a
            group of its own.
        min_rows: The fewest rows of a group that is judged; smaller ones are named as not judged.
        thresholds: Limits by metric name.
    """

    column: str
    bins: Annotated[int, Field(ge=2, le=100)] | None = None
    min_rows: Annotated[int, Field(ge=1)] = 50
    thresholds: Annotated[dict[MetricName, SliceThreshold], Field(min_length=1)]


class PromotionConfig(Section):
    """What a version must show beside the one in production, on its own test rows.

    Attributes:
        metric: The metric that decides; None takes rmse for regression, and for classification log_loss,
            or accuracy where a model gives no probabilities.
        level: The two-sided level of the interval that has to lie on the better side, in (0, 1).
        resamples: How often the test rows are drawn for it.
        min_improvement: How much better it has to be, as a share of production's metric.
    """

    metric: MetricName | None = None
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=10_000, le=1_000_000)] = 10_000
    min_improvement: Annotated[float, Field(ge=0, lt=1)] = 0.0


class GateConfig(Section):
    """What a model must pass beyond the thresholds.

    Attributes:
        smoke_test: Whether the packaged model has to load in a process of its own and predict there what was
            recorded, before it is registered.
        slices: Columns whose groups are judged one by one, before it is registered.
        promotion: What it must show to be promoted.
    """

    smoke_test: bool = False
    slices: tuple[SliceConfig, ...] = Field(default=(), strict=False)
    promotion: PromotionConfig = PromotionConfig()


class EvaluationConfig(Section):
    """How the model is judged.

    Attributes:
        thresholds: Limits by metric name, held against the test metrics.
        positive_class: The class that precision, recall and ROC are about; None takes the last, sorted.
        gate: What a model must pass beyond the thresholds, to be registered and to be promoted.
        feature_report: Whether each run says what each feature is worth: test rows are predicted again with
            its values shuffled.
    """

    thresholds: dict[MetricName, Threshold] = Field(default_factory=dict)
    positive_class: str | int | bool | None = None
    gate: GateConfig = GateConfig()
    feature_report: bool = True

    @field_validator("positive_class", mode="before")
    @classmethod
    def _check_class(cls, value: Any) -> Any:
        if not isinstance(value, str | int | None):
            raise ValueError(  # noqa: TRY004 (pydantic takes no other)
                f"a class is text, a whole number, true or false, got {value!r:.60}"
            )
        return value


def gate_mistakes(gate: GateConfig, task: Task, columns: Mapping[str, ColumnSchema]) -> Iterator[str]:
    """Yield what in the gate's settings does not fit the task and the schema, each with its path.

    Args:
        gate: The settings.
        task: What the project predicts.
        columns: The schema; where it is empty, columns are not looked at.
    """
    if gate.promotion.metric not in {None, *METRICS[task]}:
        yield f"promotion.metric: {gate.promotion.metric} is no {task} metric"
    named: set[str] = set()
    for place, part in enumerate(gate.slices):
        path = f"slices.{place}"
        if strangers := sorted(set(part.thresholds) - set(METRICS[task])):
            yield f"{path}.thresholds: no {task} metrics: {', '.join(strangers)}"
        if part.column in named:
            yield f"{path}.column: {part.column!r} has a slice already"
        if columns and part.column not in columns:
            yield f"{path}.column: data.schema has no column {part.column!r}"
        elif columns and (mistake := _mistaken_bins(part, columns[part.column].type)):
            yield f"{path}.bins: {mistake}"
        named.add(part.column)


def _mistaken_bins(part: SliceConfig, kind: ColumnType) -> str | None:
    if kind in {"float", "datetime"} and part.bins is None:
        return f"{part.column!r} is a {kind} column: say into how many groups it is cut"
    if kind in {"string", "boolean"} and part.bins is not None:
        return f"{part.column!r} is a {kind} column: its values are the groups"
    return None
