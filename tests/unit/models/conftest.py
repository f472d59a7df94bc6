"""A small table with gaps, categories and truth values, and settings for it."""

import numpy as np
import pandas as pd
import pytest

from modelbook.config import Config, load_config

SIZES = {
    "random_forest": {"n_estimators": 5},
    "extra_trees": {"n_estimators": 5},
    "hist_gradient_boosting": {"max_iter": 5},
    "lightgbm": {"n_estimators": 5},
    "xgboost": {"n_estimators": 5, "learning_rate": 0.3},
    "catboost": {"n_estimators": 5, "learning_rate": 0.3},
    "mlp": {"hidden_layer_sizes": [16], "max_iter": 80, "learning_rate_init": 0.02},
    "blend": {"members": ["linear", {"lightgbm": {"n_estimators": 5}}], "folds": 2},
    "linear": {},
}


@pytest.fixture
def table() -> pd.DataFrame:
    """Return 90 rows: two numbers, a category, truth values, a group, and targets of both tasks."""
    rng = np.random.default_rng(7)
    rooms = rng.normal(5, 2, 90).round(2)
    zone = rng.choice(["A", "B", "C"], 90)
    price = rooms * 3 + np.where(zone == "A", 4, 0) + rng.normal(0, 0.1, 90)
    table = pd.DataFrame(
        {
            "rooms": rooms,
            'ho"mes {é}': rng.integers(0, 4, 90),
            "zone": zone,
            "sold": rng.random(90) > 0.5,
            "group": np.arange(90) // 10,
            "price": price,
            "dear": np.where(price > np.median(price), "yes", "no"),
        }
    )
    table.loc[3, "rooms"] = np.nan
    table.loc[4, "zone"] = None
    return table


@pytest.fixture
def settings():
    """Return a function that makes settings for the table."""

    def make(algorithm: str = "linear", *, task: str = "regression", folder=None, **sections) -> Config:
        hyperparameters = sections.pop("hyperparameters", SIZES.get(algorithm, {}))
        config = load_config(
            {
                "project": {"task": task},
                "data": {"target": "price" if task == "regression" else "dear"},
                "features": {
                    "numeric": {"columns": ["rooms", 'ho"mes {é}']},
                    "categorical": {"columns": ["zone"]},
                    "boolean": {"columns": ["sold"]},
                    "ratios": [{"numerator": "rooms", "denominator": 'ho"mes {é}'}],
                },
                "model": {"algorithm": algorithm, "hyperparameters": {algorithm: hyperparameters}},
                "training": {"n_jobs": 1},  # threads of several test processes would wait for each other
            }
            | sections
        )
        if folder:
            object.__setattr__(config, "_root", folder)
        return config

    return make
