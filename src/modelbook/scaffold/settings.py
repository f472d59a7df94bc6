"""What the files of a new project say beyond what its table says: names, limits, hyperparameters."""

import re

from modelbook.records import Record
from modelbook.scaffold.source import Provenance, Source

_HOUSING_ABOUT = """\
The data: 20,640 block groups of the 1990 U.S. census of California. Source: R. Kelley Pace and Ronald Barry,
"Sparse Spatial Autoregressions", Statistics & Probability Letters 33 (1997) 291-297, published through
StatLib; public domain."""
_SYNTHETIC_ABOUT = (
    "The data is synthetic: 1,000 machines that nobody ever built, drawn from a seeded generator."
)


class ProjectSettings(Record):
    """What the files of a project say, beyond what the table says.

    Attributes:
        name: The project.
        source: Where the table comes from.
        raw: The project's copy of it, relative to the project.
        query: The SQL query of a database source.
        sha256: The hash of an http(s) source.
        hyperparameters: What differs from the usual settings of the random forest.
        cv_folds: Folds of cross-validation.
        thresholds: Limits by metric.
        experiment: What runs are recorded under.
        model_name: What models are registered under.
        about: What the README says of the data.
    """

    name: str
    source: str
    raw: str
    query: str | None
    sha256: str | None
    hyperparameters: dict[str, int | float]
    cv_folds: int
    thresholds: dict[str, dict[str, int | float]]
    experiment: str
    model_name: str
    about: str


def settle(source: Source, provenance: Provenance, *, name: str) -> ProjectSettings:
    """Return what the files of a project say.

    Args:
        source: The table's source.
        provenance: What is known of it.
        name: The name of the project's folder.
    """
    plain = plain_name(name)
    settings = ProjectSettings(
        name=name or plain,
        source=provenance.source,
        raw=source.raw,
        query=source.query,
        sha256=provenance.sha256,
        hyperparameters={},
        cv_folds=0,
        thresholds={},
        experiment=plain,
        model_name=plain,
        about="",
    )
    return settings.model_copy(update=_EXAMPLES.get(source.address, {}) if source.is_example else {})


def plain_name(name: str) -> str:
    """Return a name that experiments and models can have, in MLflow too, made from a folder's name.

    Example:
        >>> plain_name("House prices: 2024"), plain_name("…")
        ('House_prices_2024', 'model')
    """
    return re.sub(r"[^\w.-]+", "_", name).strip("_.-") or "model"


_EXAMPLES: dict[str, dict[str, object]] = {
    "housing": {
        "hyperparameters": {"n_estimators": 300, "max_depth": 20, "max_features": 0.5},
        "thresholds": {"rmse": {"max": 60_000}, "r2_score": {"min": 0.7}},
        "experiment": "housing_price_prediction",
        "model_name": "housing_price_predictor",
        "about": _HOUSING_ABOUT,
    },
    "classification": {
        "hyperparameters": {"n_estimators": 100, "max_depth": 10},
        "cv_folds": 5,
        "thresholds": {"accuracy": {"min": 0.9}},
        "experiment": "model-training",
        "model_name": "model-training-random_forest",
        "about": _SYNTHETIC_ABOUT,
    },
}
