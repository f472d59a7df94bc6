"""What the automatic search tries: settings that are good on most tables, then others drawn around them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from modelbook.config import Config
from modelbook.models.estimators import CATALOGUE
from modelbook.models.spaces import default_space
from modelbook.records import Candidate

_SLOW = 3000  # more rounds than are needed: the search finds out how many are best

# The quickest to be good come first, so that a small budget holds the best of what it can hold.
_PORTFOLIO: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("linear", {}),
    (
        "lightgbm",
        {
            "learning_rate": 0.03,
            "n_estimators": _SLOW,
            "num_leaves": 48,
            "min_child_samples": 15,
            "colsample_bytree": 0.4,
        },
    ),
    (
        "xgboost",
        {
            "learning_rate": 0.04,
            "n_estimators": _SLOW,
            "max_depth": 8,
            "min_child_weight": 5,
            "subsample": 0.8,
            "colsample_bytree": 0.5,
        },
    ),
    ("catboost", {"learning_rate": 0.06, "n_estimators": _SLOW, "depth": 6}),
    ("mlp", {"max_iter": 200}),
    ("mlp", {"max_iter": 200, "hidden_layer_sizes": [256], "alpha": 0.01}),
    (
        "lightgbm",
        {
            "learning_rate": 0.03,
            "n_estimators": _SLOW,
            "num_leaves": 96,
            "min_child_samples": 20,
            "reg_lambda": 5.0,
            "subsample_freq": 1,
            "subsample": 0.7,
            "colsample_bytree": 0.35,
        },
    ),
    ("catboost", {"learning_rate": 0.06, "n_estimators": _SLOW, "depth": 8, "l2_leaf_reg": 5.0}),
    ("extra_trees", {"n_estimators": 200}),
    ("hist_gradient_boosting", {"learning_rate": 0.05, "max_iter": _SLOW}),
    ("random_forest", {"n_estimators": 200}),
)
# Not drawn: the search finds out how many iterations are best, and with so many as that a lower rate of
# learning is no worse, only slower.
_GIVEN = frozenset({"n_estimators", "max_iter", "learning_rate"})
_WITHOUT_GAPS = frozenset({"linear", "mlp"})


def portfolio(config: Config) -> tuple[Candidate, ...]:
    """Return what is tried first, in that order: what is installed and takes the features as they are."""
    return tuple(
        Candidate(algorithm=algorithm, settings={**settings, **_of_task(algorithm, config)})
        for algorithm, settings in _PORTFOLIO
        if _is_usable(algorithm, config)
    )


def drawn(base: Candidate, config: Config, random: np.random.Generator) -> Candidate:
    """Return a candidate with some of its settings drawn anew from where practitioners find them.

    The rate of learning stays, and so does the number of iterations: the search finds the best one anyway.

    Args:
        base: What to begin with.
        config: The settings.
        random: Where the draws come from.
    """
    space = default_space(base.algorithm, config.project.task)
    names = [name for name in space if name not in _GIVEN]
    chosen = [name for name in names if random.random() < 0.5] or names[:1]  # noqa: PLR2004 (one half)
    settings = {name: _value(space[name], random) for name in chosen}
    return base.model_copy(update={"settings": {**base.settings, **settings}})


def tunable(candidates: Iterator[Candidate], config: Config) -> tuple[Candidate, ...]:
    """Return those candidates that have settings to draw, in their order, one for each algorithm."""
    found = {one.algorithm: one for one in candidates if default_space(one.algorithm, config.project.task)}
    return tuple(found.values())


def _of_task(algorithm: str, config: Config) -> Mapping[str, Any]:
    """Return what is good for one task alone: for classes forests look at fewer features at each cut."""
    is_forest = algorithm in {"extra_trees", "random_forest"}
    return {"max_features": 0.5} if is_forest and config.project.task == "regression" else {}


def _is_usable(algorithm: str, config: Config) -> bool:
    entry = CATALOGUE[algorithm]
    is_native = config.features.categorical.encode == "native" and config.features.categorical.columns
    has_gaps = config.features.numeric.impute == "none" and algorithm in _WITHOUT_GAPS
    return entry.is_installed and not has_gaps and (entry.takes_categories or not is_native)


def _value(entry: Any, random: np.random.Generator) -> Any:
    if not isinstance(entry, Mapping):
        return entry[int(random.integers(len(entry)))]
    low, high = entry["low"], entry["high"]
    is_whole = isinstance(low, int) and isinstance(high, int)
    if entry.get("log"):
        value = float(np.exp(random.uniform(np.log(low), np.log(high))))
    else:
        value = float(random.uniform(low, high))
    step = entry.get("step")
    if step:
        value = low + round((value - low) / step) * step
    return round(value) if is_whole else float(f"{value:.4g}")
