"""Facts about what a feature is worth."""

import numpy as np
import pandas as pd
import pytest

from modelbook.evaluation.worth import WORTH_COLUMNS, feature_worth
from modelbook.models.train import ModelTrainer


def fitted(task="regression", rows=300, **model):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "much": rng.normal(size=rows),
            "some": rng.normal(size=rows),
            "none": rng.normal(size=rows),
            "zone": rng.choice(["a", "b", "c"], rows),
        }
    )
    y = 3 * X["much"] + X["some"] + 2 * (X["zone"] == "b")
    config = {
        "project": {"task": task},
        "features": {
            "numeric": {"columns": ["much", "some", "none"]},
            "categorical": {"columns": ["zone"]},
        },
        "model": {"algorithm": "linear"} | model,
    }
    trainer = ModelTrainer(config)
    target = y if task == "regression" else (y > 0).map({True: "yes", False: "no"})
    trainer.train(X, target)
    return trainer, X, target.to_numpy()


def worth(trainer, X, y, *, task="regression", seed=1):
    importances = trainer.get_feature_importance(X, y)
    return feature_worth(trainer.model, X, y=y, task=task, seed=seed, importances=importances)


@pytest.mark.parametrize(("task", "metric"), [("regression", "rmse"), ("classification", "log_loss")])
def test_what_tells_the_target_is_worth_most(task, metric):
    """The most first; a column of noise is worth nothing, and a text column is one feature."""
    table = worth(*fitted(task), task=task)
    assert tuple(table.columns) == WORTH_COLUMNS
    assert table["feature"][0] == "much"
    assert set(table["feature"]) == {"much", "zone", "some", "none"}
    assert set(table["metric"]) == {metric}
    values = table.set_index("feature")["worth"]
    assert values["much"] > values["some"] > 5 * abs(values["none"])
    assert (table["spread"] >= 0).all()
    assert (table["rows"] == 300).all()


def test_columns_whose_names_begin_alike_are_apart():
    """A category of `zone` may be named so that its feature begins as `zone_type` does."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"zone": rng.choice(["type1", "b"], 300), "zone_type": rng.choice(["1", "2"], 300)})
    y = (5.0 * (X["zone"] == "b")).to_numpy()
    features = {"categorical": {"columns": ["zone", "zone_type"]}}
    trainer = ModelTrainer({"features": features, "model": {"algorithm": "linear"}})
    trainer.train(X, y)
    values = worth(trainer, X, y).set_index("feature")["worth"]
    assert values["zone"] > 1
    assert abs(values["zone_type"]) < 0.01


def test_without_probabilities_accuracy_counts():
    """An estimator that names classes alone is judged by how many it names right."""
    trainer, X, y = fitted("classification")

    estimator = trainer.model["estimator"]

    class Names:
        classes_ = estimator.classes_
        predict = estimator.predict

    trainer.model.steps[-1] = ("estimator", Names())
    table = feature_worth(trainer.model, X, y=y, task="classification", seed=1, importances={})
    assert set(table["metric"]) == {"accuracy"}
    assert table["feature"][0] == "much"
    assert 0.1 < table["worth"][0] < 0.9


def test_the_same_seed_gives_the_same_report():
    """Another one gives another."""
    trainer, X, y = fitted()
    first, again, other = (worth(trainer, X, y, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert not first["worth"].equals(other["worth"])


def test_the_rows_are_as_they_were():
    """Nothing is shuffled in the caller's table."""
    trainer, X, y = fitted()
    before = X.copy()
    worth(trainer, X, y)
    pd.testing.assert_frame_equal(X, before)


def test_of_many_features_the_first_hundred():
    """Those that the model itself holds for the most important ones."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(150, 120)), columns=[f"x{number}" for number in range(120)])
    y = (X["x119"] * 5 + rng.normal(size=150)).to_numpy()
    trainer = ModelTrainer(
        {"features": {"numeric": {"columns": list(X.columns)}}, "model": {"algorithm": "linear"}}
    )
    trainer.train(X, y)
    table = worth(trainer, X, y)
    assert len(table) == 100
    assert table["feature"][0] == "x119"
    assert (table["rows"] == 100).all()
