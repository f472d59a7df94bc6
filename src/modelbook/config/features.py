"""Which columns become features, and what is made of them."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from modelbook.config.sections import (
    BooleanFeatures,
    CategoricalFeatures,
    ColumnSchema,
    DatetimeFeatures,
    NumericFeatures,
    Section,
)

Operation = Literal["product", "difference", "sum"]
_NUMBERS = ("float", "integer")


class Ratio(Section):
    """One number column divided by another, as a further feature."""

    numerator: str
    denominator: str


class Interaction(Section):
    """Two number columns joined to a further feature: give one of the three, with both columns."""

    product: tuple[str, str] | None = Field(default=None, strict=False)
    difference: tuple[str, str] | None = Field(default=None, strict=False)
    sum: tuple[str, str] | None = Field(default=None, strict=False)

    @property
    def term(self) -> tuple[Operation, str, str]:
        """The operation and its two columns."""
        operations: tuple[Operation, ...] = ("product", "difference", "sum")
        return next((name, *pair) for name in operations if (pair := getattr(self, name)) is not None)

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if sum(pair is not None for pair in (self.product, self.difference, self.sum)) != 1:
            raise ValueError("an interaction needs one of product, difference and sum")
        return self


class CurveFeatures(Section):
    """Number columns whose logarithm or square root is a further feature, with the sign of the number.

    Attributes:
        log: Columns whose log(1 + |x|) is added.
        square_root: Columns whose square root of |x| is added.
    """

    log: tuple[str, ...] = Field(default=(), strict=False)
    square_root: tuple[str, ...] = Field(default=(), strict=False)


class GeographyFeatures(Section):
    """What the place of a row says about it.

    Attributes:
        latitude: The column of degrees north.
        longitude: The column of degrees east.
        neighbours: Over how many of the nearest training rows the target is averaged (for classes: the share
            of each), weighted by nearness; one feature for each number. Training rows are averaged out of
            fold.
        columns: Number columns that are averaged over the same neighbours.
        clusters: The number of learned centres that the distance to becomes a feature.
        rotations: Angles in degrees; the coordinate along each axis turned so far becomes a feature.
    """

    latitude: str
    longitude: str
    neighbours: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(default=(10,), strict=False)
    columns: tuple[str, ...] = Field(default=(), strict=False)
    clusters: Annotated[int, Field(ge=0, le=1000)] = 0
    rotations: tuple[Annotated[float, Field(gt=-360, lt=360)], ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        if not (self.neighbours or self.clusters or self.rotations):
            raise ValueError("nothing is made of the place: give neighbours, clusters or rotations")
        if self.columns and not self.neighbours:
            raise ValueError("columns are averaged over neighbours: give neighbours too")
        for name in ("neighbours", "columns", "rotations"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} names one twice")
        return self


class FeaturesConfig(Section):
    """Which columns become features, and how.

    Attributes:
        numeric: Number columns.
        categorical: Text columns.
        boolean: True-or-false columns.
        datetime: Date and time columns.
        ratios: Features made by dividing one number column by another.
        interactions: Products, differences and sums of two number columns.
        curves: Logarithms and square roots of number columns.
        counts: Number, text or true-or-false columns, for the number of training rows with the same value.
        geography: What is made of latitude and longitude; None makes nothing.
        custom: The name of a transformer class in features.py, given the table before everything else.
        left_out: Columns that are not used, each with the reason.
    """

    numeric: NumericFeatures = NumericFeatures()
    categorical: CategoricalFeatures = CategoricalFeatures()
    boolean: BooleanFeatures = BooleanFeatures()
    datetime: DatetimeFeatures = DatetimeFeatures()
    ratios: tuple[Ratio, ...] = Field(default=(), strict=False)
    interactions: tuple[Interaction, ...] = Field(default=(), strict=False)
    curves: CurveFeatures = CurveFeatures()
    counts: tuple[str, ...] = Field(default=(), strict=False)
    geography: GeographyFeatures | None = None
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


def feature_mistakes(features: FeaturesConfig, columns: Mapping[str, ColumnSchema]) -> Iterator[str]:
    """Yield what in the made features does not fit the columns that they are made of, each with its path.

    Args:
        features: The settings.
        columns: The schema; where it is empty, types are not looked at.
    """
    numeric = set(features.numeric.columns)
    for path, name in _numbers_needed(features):
        if name not in numeric:
            yield f"{path}: {name!r} is no number column of features.numeric.columns"
        elif name in columns and columns[name].type not in _NUMBERS:
            yield f"{path}: {name!r} is a {columns[name].type} column of data.schema, not a number"
    countable = numeric | {*features.categorical.columns, *features.boolean.columns}
    for place, name in enumerate(features.counts):
        if name not in countable:
            yield f"counts.{place}: {name!r} is no column of features.numeric, categorical or boolean"


def _numbers_needed(features: FeaturesConfig) -> Iterator[tuple[str, str]]:
    for place, interaction in enumerate(features.interactions):
        operation, *pair = interaction.term
        yield from ((f"interactions.{place}.{operation}", name) for name in pair)
    for curve in ("log", "square_root"):
        yield from ((f"curves.{curve}", name) for name in getattr(features.curves, curve))
    if features.geography is not None:
        yield "geography.latitude", features.geography.latitude
        yield "geography.longitude", features.geography.longitude
        yield from (("geography.columns", name) for name in features.geography.columns)
