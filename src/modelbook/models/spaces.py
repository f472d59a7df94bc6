"""Where a search looks for hyperparameters where nobody says: a space for each algorithm of the catalogue.

Ranges are those in which practitioners find their settings on tables of some hundred to some million rows;
the defaults of the catalogue lie inside.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_LEARNING_RATE = {"low": 0.01, "high": 0.3, "log": True}
_SHARE = {"low": 0.4, "high": 1.0}
_PENALTY = {"low": 0.001, "high": 10.0, "log": True}
_FOREST = {
    "n_estimators": {"low": 100, "high": 400, "step": 50},
    "max_features": {"low": 0.2, "high": 1.0},
    "min_samples_leaf": {"low": 1, "high": 16, "log": True},
    "max_depth": [None, 10, 20, 30],
}

SPACES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "random_forest": _FOREST,
        "extra_trees": _FOREST,
        "hist_gradient_boosting": {
            "learning_rate": _LEARNING_RATE,
            "max_iter": {"low": 100, "high": 600, "log": True},
            "max_leaf_nodes": {"low": 8, "high": 128, "log": True},
            "min_samples_leaf": {"low": 5, "high": 100, "log": True},
            "l2_regularization": _PENALTY,
        },
        "lightgbm": {
            "learning_rate": _LEARNING_RATE,
            "n_estimators": {"low": 100, "high": 1000, "log": True},
            "num_leaves": {"low": 8, "high": 256, "log": True},
            "min_child_samples": {"low": 5, "high": 100, "log": True},
            "colsample_bytree": _SHARE,
            "reg_lambda": _PENALTY,
        },
        "xgboost": {
            "learning_rate": _LEARNING_RATE,
            "n_estimators": {"low": 100, "high": 1000, "log": True},
            "max_depth": {"low": 3, "high": 12},
            "min_child_weight": {"low": 1.0, "high": 20.0, "log": True},
            "subsample": {"low": 0.5, "high": 1.0},
            "colsample_bytree": _SHARE,
            "reg_lambda": _PENALTY,
        },
        "catboost": {
            "learning_rate": _LEARNING_RATE,
            "n_estimators": {"low": 100, "high": 1000, "log": True},
            "depth": {"low": 4, "high": 10},
            "l2_leaf_reg": {"low": 0.5, "high": 20.0, "log": True},
        },
        "mlp": {
            "alpha": {"low": 1e-6, "high": 0.1, "log": True},
            "learning_rate_init": {"low": 1e-4, "high": 0.02, "log": True},
            "hidden_layer_sizes": [[64], [128], [256], [64, 64], [128, 64], [256, 128]],
        },
    }
)

LINEAR_SPACES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "regression": {"alpha": {"low": 0.001, "high": 1000.0, "log": True}},
        "classification": {"C": {"low": 0.001, "high": 100.0, "log": True}},
    }
)


def default_space(algorithm: str, task: str) -> Mapping[str, Any]:
    """Return what a search tries for an algorithm, by hyperparameter; nothing for one that is not known here.

    Example:
        >>> default_space("linear", "regression")["alpha"]["low"]
        0.001
    """
    return LINEAR_SPACES[task] if algorithm == "linear" else SPACES.get(algorithm, {})
