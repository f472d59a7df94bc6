"""The weights of a blend, and what its settings have to be."""

import numpy as np
import pandas as pd
import pytest

from modelbook.errors import ConfigError, DataInvalidError
from modelbook.models.blending import least_squares_weights, likelihood_weights
from modelbook.models.build import build_estimator
from modelbook.models.folds import folds
from modelbook.models.parts import hyperparameters, outcome
from modelbook.models.train import ModelTrainer

MEMBERS = ["linear", {"extra_trees": {"n_estimators": 5}}]


def loss(weights, predicted, y):
    return ((predicted @ weights - y) ** 2).mean()


def test_least_squares_weights_are_the_best_of_the_simplex():
    """No other weights, none below zero and with a sum of 1, err less on the same rows."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=500)
    predicted = np.column_stack([y + rng.normal(0, spread, 500) for spread in (0.5, 0.7, 2.0)] + [-y])
    weights = least_squares_weights(predicted, y)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    others = rng.dirichlet(np.ones(4), 3000)
    assert loss(weights, predicted, y) <= min(loss(other, predicted, y) for other in others)


def test_likelihood_weights_are_the_best_of_the_simplex():
    """No other weights give the true classes a better likelihood."""
    rng = np.random.default_rng(0)
    given = rng.random((400, 3)) ** np.array([0.3, 0.5, 2.0])
    weights = likelihood_weights(given)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    best = np.log(given @ weights).mean()
    assert best >= max(np.log(given @ other).mean() for other in rng.dirichlet(np.ones(3), 3000)) - 1e-6


def test_members_that_never_err():
    """Perfect predictions get some weights all the same, and impossible classes stop nothing."""
    y = np.arange(5.0)
    assert least_squares_weights(np.column_stack([y, y]), y).tolist() == [0.5, 0.5]
    assert likelihood_weights(np.zeros((3, 2))).tolist() == [0.5, 0.5]


def test_weights_come_from_rows_that_were_not_fitted_on(settings):
    """A member that knows its training rows by heart and nothing else gets no weight, and is not fitted."""
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"x": rng.normal(size=300), "noise": rng.normal(size=300)})
    y = 3 * rows["x"] + rng.normal(0, 0.1, 300)
    by_heart = {"extra_trees": {"n_estimators": 3, "max_features": 1}}
    config = settings(
        "blend",
        hyperparameters={"members": ["linear", by_heart]},
        features={"numeric": {"columns": ["x", "noise"]}},
    )
    blend = ModelTrainer(config).train(rows, y)[-1]
    assert blend.weights == [1.0, 0.0]
    assert len(blend.fitted_) == 1


@pytest.mark.parametrize("method", ["group", "time"])
def test_its_folds_are_those_of_the_split(settings, table, *, method, monkeypatch):
    """Rows of a group are never on both sides, and the past is never predicted from the future."""
    seen = []

    def spied(*arguments, **options):
        for train, held in folds(*arguments, **options):
            seen.append((train, held))
            yield train, held

    monkeypatch.setattr("modelbook.models.blending.folds", spied)
    config = settings(
        "blend",
        hyperparameters={"members": MEMBERS, "folds": 3},
        split={"method": method, "column": "group"},
    )
    ModelTrainer(config).train(table, table["price"])
    assert len(seen) == 3
    for train, held in seen:
        before, after = table["group"].iloc[train], table["group"].iloc[held]
        assert before.max() <= after.min() if method == "time" else not set(before) & set(after)


def test_weights_of_the_settings_are_taken(settings, table):
    """Nothing is looked for then; they need not have a sum of 1."""
    config = settings("blend", hyperparameters={"members": MEMBERS, "weights": [3.0, 1.0]})
    model = ModelTrainer(config).train(table, table["price"])
    assert model[-1].weights == [0.75, 0.25]


def test_what_is_recorded_of_it(settings):
    """Members, weights, and each member's settings under its name; one name may occur twice."""
    members = ["linear", {"linear": {"alpha": 9.0}}]
    config = settings("blend", hyperparameters={"members": members, "weights": [0.5, 0.5]})
    recorded = hyperparameters(build_estimator(config))
    assert recorded["members"] == ["linear", "linear_2"]
    assert recorded["weights"] == [0.5, 0.5]
    assert (recorded["linear.alpha"], recorded["linear_2.alpha"]) == (1.0, 9.0)
    assert outcome(build_estimator(config))[0].startswith("linear: weight 0.5")


@pytest.mark.parametrize(
    ("chosen", "mistake"),
    [
        ({}, "members: Field required"),
        ({"members": []}, "members: Tuple should have at least 1 item"),
        ({"members": ["linear", {"mlp": {}, "xgboost": {}}]}, "members: each is a name, or one name with"),
        ({"members": ["blend"]}, "members: a blend is no member of a blend"),
        ({"members": MEMBERS, "weights": [1.0]}, "weights: one for each member"),
        (
            {"members": MEMBERS, "weights": [-1.0, 2.0]},
            "weights.0: Input should be greater than or",
        ),
        ({"members": MEMBERS, "folds": 1}, "folds: Input should be greater than or equal to 2"),
        ({"members": ["linear", {"lightgbm": {"leafs": 3}}]}, "members.lightgbm.leafs: unknown"),
        ({"members": [{"linear": {"alpha": -1}}]}, "members.linear.alpha: The 'alpha' parameter"),
    ],
)
def test_settings_that_make_no_blend(settings, chosen, mistake):
    """Each is refused before anything is fitted, with its path; the exit code is 2."""
    with pytest.raises(ConfigError) as caught:
        build_estimator(settings("blend", hyperparameters=chosen))
    assert any(mistake in line for line in caught.value.mistakes)
    assert all(line.startswith("model.hyperparameters.blend") for line in caught.value.mistakes)
    assert caught.value.exit_code == 2


def test_an_unknown_member_is_told_what_there_is(settings, tmp_path):
    """As an unknown algorithm is."""
    with pytest.raises(ConfigError, match="there is no algorithm lightgmb") as caught:
        build_estimator(settings("blend", folder=tmp_path, hyperparameters={"members": ["lightgmb"]}))
    assert caught.value.hint == "did you mean lightgbm?"


def test_a_classifier_without_probabilities_is_no_member(settings, tmp_path):
    """A blend of classes is a mean of probabilities."""
    (tmp_path / "features.py").write_text(
        "from sklearn.linear_model import Perceptron\n\nclass Mine(Perceptron): ...\n"
    )
    chosen = {"members": ["linear", "Mine"]}
    with pytest.raises(ConfigError, match="Mine gives no probabilities"):
        build_estimator(settings("blend", task="classification", folder=tmp_path, hyperparameters=chosen))


def test_too_few_rows_for_the_folds(settings, table):
    """The setting that says how many folds is named."""
    config = settings("blend", hyperparameters={"members": MEMBERS, "folds": 20})
    with pytest.raises(DataInvalidError) as caught:
        ModelTrainer(config).train(table.head(10), table["price"].head(10))
    assert caught.value.where == "model.hyperparameters.blend.folds"
