"""compiled.json: what a compiled model is made of; arrays are named, and lie beside it."""

from typing import Annotated, Literal

from pydantic import Field

from modelbook.config import ColumnType, Task
from modelbook.records import Record

Link = Literal["identity", "exponential", "sigmoid", "softmax", "shares"]


class TextColumn(Record):
    """A column of categories.

    Attributes:
        name: The column.
        type: The type that its values come in.
        categories: The texts that something is known of, in the order of their codes.
    """

    name: str
    type: ColumnType
    categories: tuple[str, ...]


class PlacesPlan(Record):
    """What is known of places on the map, as `neighbours.Geography` learned it.

    Attributes:
        latitude: The column of degrees north.
        longitude: The column of degrees east.
        origin: The mean latitude, a middle longitude and the cosine of that latitude.
        neighbours: The numbers of neighbours that means are taken over.
        rotations: Angles in degrees.
        centres: The centres, in kilometres `(n_centres, 2)`.
        known: Where training rows are, in kilometres `(n_rows, 2)`; None where there are no `neighbours`.
        values: What they hold, `(n_rows, n_values)`.
        scale: What is added to a distance before its inverse is a weight.
        width: How many features come of it.
    """

    latitude: str
    longitude: str
    origin: tuple[float, float, float]
    neighbours: tuple[int, ...]
    rotations: tuple[float, ...]
    centres: str
    known: str | None = None
    values: str | None = None
    scale: float = 0.0
    width: int


class FeaturesPlan(Record):
    """How features are made of raw columns.

    Attributes:
        numbers: Number columns.
        truths: True-or-false columns.
        texts: Text columns.
        times: Time columns.
        places: What is known of places, where there is something.
        steps: The steps, `(n_steps, 6)`.
        constants: What the steps know.
        room: The places of a row that steps read and write.
        features: How many of them, the last ones, are the features.
    """

    numbers: tuple[str, ...]
    truths: tuple[str, ...]
    texts: tuple[TextColumn, ...]
    times: tuple[str, ...]
    places: PlacesPlan | None
    steps: str
    constants: str
    room: int
    features: int


class TreesPlan(Record):
    """A sum over trees.

    Attributes:
        nodes: The nodes, as `kernel.NODE` has them.
        roots: Where each tree begins.
        columns: Which sum each tree adds to.
        leaves: What leaves hold where that is more than a number.
        words: Sets of categories.
        base: What each sum begins with, `(n_sums,)`; its dtype is that of the sums.
        divisor: What the sums are divided by.
        is_single: Whether features are rounded to float32 first.
        takes_gaps: Whether a feature may be missing.
        link: What makes a prediction of a sum.
        alpha: What a sigmoid's sum is multiplied with.
        is_by_sum: Whether the largest sum says the class, and not the largest probability.
        is_normalised: Whether probabilities are divided by their sum.
    """

    kind: Literal["trees"] = "trees"
    nodes: str
    roots: str
    columns: str
    leaves: str
    words: str
    base: str
    divisor: int = 1
    is_single: bool = False
    takes_gaps: bool = True
    link: Link = "identity"
    alpha: float = 1.0
    is_by_sum: bool = False
    is_normalised: bool = False


class LinearPlan(Record):
    """Weighted sums of features.

    Attributes:
        coefficients: `(n_sums, n_features)`.
        intercepts: `(n_sums,)`.
        link: What makes a prediction of a sum.
    """

    kind: Literal["linear"] = "linear"
    coefficients: str
    intercepts: str
    link: Link


class NetworkPlan(Record):
    """A neural network.

    Attributes:
        weights: Of each layer the weights, `(n_outputs, n_inputs)`.
        intercepts: Of each layer what is added.
        activation: What is made of the sums of a hidden layer.
        link: What makes a prediction of the last layer's sums.
        scale: What a number is multiplied with in the end.
        mean: What is added to it then.
    """

    kind: Literal["network"] = "network"
    weights: tuple[str, ...]
    intercepts: tuple[str, ...]
    activation: Literal["identity", "logistic", "relu", "tanh"]
    link: Link
    scale: float = 1.0
    mean: float = 0.0


class TargetPlan(Record):
    """An estimator of a transformed target.

    Attributes:
        inner: The estimator.
        curve: How the target was transformed.
        quantiles: The target's quantiles, where it was by those.
        references: Their places between 0 and 1.
    """

    kind: Literal["target"] = "target"
    inner: "EstimatorPlan"
    curve: Literal["log", "quantile"]
    quantiles: str | None = None
    references: str | None = None


class BlendPlan(Record):
    """The weighted mean of several estimators."""

    kind: Literal["blend"] = "blend"
    members: tuple["EstimatorPlan", ...]
    weights: tuple[float, ...]


EstimatorPlan = Annotated[
    TreesPlan | LinearPlan | NetworkPlan | TargetPlan | BlendPlan, Field(discriminator="kind")
]


class ModelPlan(Record):
    """The whole of a compiled model."""

    task: Task
    features: FeaturesPlan
    estimator: EstimatorPlan
