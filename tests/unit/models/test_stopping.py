"""Early stopping: which rows are held back, and what becomes of the number that they give."""

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoost

from modelbook.errors import ConfigError, DataInvalidError
from modelbook.models.stopping import inner_split
from modelbook.models.train import ModelTrainer

STOPPING = {"early_stopping": {"rounds": 3, "share": 0.2}, "n_jobs": 1}


def raw(table):
    return table.drop(columns=["price", "dear"])


def test_rows_held_back_are_those_of_the_seed(settings, table):
    """Every row is on one side, a fifth is held back, and another seed holds back others."""
    y = table["price"].to_numpy()
    train, held = inner_split(settings(training=STOPPING), raw(table), y)
    assert sorted([*train, *held]) == list(range(90))
    assert len(held) == 18
    assert (held == inner_split(settings(training=STOPPING), raw(table), y)[1]).all()
    other = inner_split(settings(training={**STOPPING, "seed": 7}), raw(table), y)[1]
    assert (held != other).any()


def test_classes_keep_their_shares(settings, table):
    """A rare class is on both sides."""
    y = np.array(["rare"] * 10 + ["often"] * 80)
    _, held = inner_split(settings(task="classification", training=STOPPING), raw(table), y)
    assert (y[held] == "rare").sum() == 2


@pytest.mark.parametrize("method", ["group", "time"])
def test_groups_and_times_are_divided_as_the_split_divides_them(settings, table, method):
    """No group is on both sides; the latest rows are held back."""
    config = settings(split={"method": method, "column": "group"}, training=STOPPING)
    shuffled = raw(table).sample(frac=1, random_state=1)
    train, held = inner_split(config, shuffled, np.zeros(90))
    before, after = shuffled["group"].iloc[train], shuffled["group"].iloc[held]
    assert not set(before) & set(after)
    if method == "time":
        assert before.max() < after.min()


def test_a_class_of_held_out_rows_alone_is_left_out(settings, table):
    """In the order of time the last rows may bring a new class, which nothing could have learned."""
    y = np.where(table["group"] < 7, np.where(np.arange(90) % 2, "a", "b"), "c")
    y[89] = "a"
    config = settings(task="classification", split={"method": "time", "column": "group"}, training=STOPPING)
    _, held = inner_split(config, raw(table), y)
    assert held.tolist() == [89]


RARE = {
    "one row of a class": ["a"] * 89 + ["b"],
    "two rows of a class": ["a"] * 88 + ["b"] * 2,
    "more classes than rows to hold back": [f"class {at % 45}" for at in range(90)],
}


@pytest.mark.parametrize("method", ["random", "stratified"])
@pytest.mark.parametrize("case", RARE)
def test_classes_of_few_rows_are_fitted_on(settings, table, *, case, method):
    """Where they cannot keep their shares, one row of each class is fitted on and the others are drawn."""
    config = settings(
        task="classification",
        split={"method": method},
        training={**STOPPING, "early_stopping": {"rounds": 3, "share": 0.01}},
    )
    y = np.array(RARE[case])
    train, held = inner_split(config, raw(table), y)
    assert sorted([*train, *held]) == list(range(90))
    assert len(held) == 1
    assert set(y[train]) == set(y)


@pytest.mark.parametrize("algorithm", ["hist_gradient_boosting", "lightgbm", "xgboost", "catboost", "mlp"])
def test_a_rare_class_stops_no_early_stopping(settings, table, algorithm):
    """Nor does it within the folds of cross-validation, where fewer of its rows are left."""
    config = settings(algorithm, task="classification", training={**STOPPING, "cv_folds": 5})
    y = pd.Series(["a", "b"] * 44 + ["rare"] * 2)
    trainer = ModelTrainer(config)
    trainer.train(raw(table), y)
    assert trainer.classes == ("a", "b", "rare")
    assert trainer.cross_validate(raw(table), y, score=lambda *_: {"rows": 1.0})["cv_rows_mean"] == 1


@pytest.mark.parametrize(
    ("split", "y"),
    [
        ({"method": "random"}, [f"class {at}" for at in range(90)]),
        ({"method": "time", "column": "group"}, ["a", "b"] * 35 + ["c"] * 20),
    ],
)
def test_too_few_rows_to_hold_some_back(settings, table, *, split, y):
    """What is missing is said, and how to do without."""
    config = settings("lightgbm", task="classification", split=split, training=STOPPING)
    with pytest.raises(DataInvalidError, match="no training rows can be held back") as caught:
        ModelTrainer(config).train(raw(table), pd.Series(y))
    assert caught.value.what.endswith("those that could be are of classes that no other row has")
    assert caught.value.where == "training.early_stopping"
    assert caught.value.exit_code == 3


def test_the_model_is_that_of_the_number_found(settings, table):
    """It is fitted on all training rows, as one with that number in its settings is."""
    chosen = {"n_estimators": 200, "learning_rate": 0.3}
    stopped = ModelTrainer(settings("xgboost", hyperparameters=chosen, training=STOPPING))
    stopped.train(raw(table), table["price"])
    count = stopped.model[-1].n_estimators
    assert count < 200
    plain = ModelTrainer(
        settings("xgboost", hyperparameters=chosen | {"n_estimators": count}, training={"n_jobs": 1})
    )
    plain.train(raw(table), table["price"])
    assert plain.predict(table).tobytes() == stopped.predict(table).tobytes()


@pytest.mark.parametrize("labels", [("no", "yes"), (3, 7)])
def test_weights_of_classes_are_those_of_the_labels(settings, table, labels):
    """LightGBM stops where it does for codes of the classes that are weighted by the codes."""
    codes = np.random.default_rng(0).permutation((table["dear"] == "yes").astype(int))
    probabilities = []
    for names in (labels, (0, 1)):
        chosen = {"n_estimators": 40, "class_weight": {names[0]: 1, names[1]: 9}}
        config = settings("lightgbm", task="classification", hyperparameters=chosen, training=STOPPING)
        trainer = ModelTrainer(config)
        trainer.train(raw(table), np.array(names)[codes])
        assert trainer.model[-1].n_estimators < 40
        probabilities.append(trainer.predict_proba(raw(table)))
    assert probabilities[0].tobytes() == probabilities[1].tobytes()


def test_a_network_that_cannot_be_stopped_takes_all_its_passes(settings, table):
    """L-BFGS learns from all rows at once: early stopping leaves it as it is."""
    chosen = {"solver": "lbfgs", "hidden_layer_sizes": [4], "max_iter": 20, "tol": 10.0}
    stopped, plain = (
        ModelTrainer(settings("mlp", hyperparameters=chosen, training=training))
        for training in (STOPPING, {"n_jobs": 1})
    )
    for trainer in (stopped, plain):
        trainer.train(raw(table), table["price"])
    assert stopped.model[-1].max_iter == 20
    assert stopped.predict(table).tobytes() == plain.predict(table).tobytes()


@pytest.mark.parametrize("given", [None, 0.06])
def test_the_rate_of_learning_is_that_which_was_stopped_on(settings, table, given):
    """CatBoost derives a rate that is not given from the number of trees, which stopping changes."""
    chosen = {"n_estimators": 40, "learning_rate": given}
    trainer = ModelTrainer(settings("catboost", hyperparameters=chosen, training=STOPPING))
    trainer.train(raw(table), np.random.default_rng(0).permutation(table["price"]))
    found = trainer.model[-1]
    if given is None:
        own = CatBoost({"iterations": 40, "logging_level": "Silent", "allow_writing_files": False})
        numbers = np.arange(72.0).reshape(-1, 1)  # it looks at how many rows there are to learn from
        own.fit(numbers, numbers[:, 0], eval_set=(numbers, numbers[:, 0]))
        given = own.get_all_params()["learning_rate"]
    assert (found.n_estimators < 40, found.learning_rate) == (True, given)


def test_each_fold_finds_its_own(settings, table, monkeypatch):
    """Cross-validation holds rows back within the training rows of each fold."""
    sizes = []

    def spied(config, X, y):
        sizes.append(len(X))
        return inner_split(config, X, y)

    monkeypatch.setattr("modelbook.models.stopping.inner_split", spied)
    config = settings("xgboost", training={**STOPPING, "cv_folds": 3})
    ModelTrainer(config).cross_validate(raw(table), table["price"], score=lambda *_: {"rows": 1.0})
    assert sizes == [60, 60, 60]


def test_a_target_below_zero_has_no_logarithm(settings, table):
    """The setting and the column are named, the number of rows is counted, the exit code is 3."""
    config = settings("linear", training={"target_transform": "log"})
    with pytest.raises(DataInvalidError, match="values below zero") as caught:
        ModelTrainer(config).train(raw(table), table["price"] - 10)
    assert caught.value.where == "training.target_transform: log, data.target: price"
    assert caught.value.exit_code == 3


def test_classes_are_not_transformed(settings):
    """The settings are wrong."""
    with pytest.raises(ConfigError, match="1 mistake") as caught:
        settings("linear", task="classification", training={"target_transform": "log"})
    assert "training.target_transform: only numbers are transformed" in caught.value.mistakes[0]
