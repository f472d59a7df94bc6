"""What holds for every estimator of the catalogue, in both tasks."""

import functools

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from modelbook.config import load_config
from modelbook.errors import ConfigError, DataInvalidError
from modelbook.features.engineer import FeatureEngineer
from modelbook.models.build import build_estimator
from modelbook.models.digest import model_digest
from modelbook.models.estimators import CATALOGUE
from modelbook.models.package import pack, unpack
from modelbook.models.parts import inner, learners
from modelbook.models.train import ModelTrainer

TASKS = ("regression", "classification")
CASES = [(name, task) for name in CATALOGUE for task in TASKS]
TARGETS = {"regression": "price", "classification": "dear"}
ROWS = 60
SMALL = {
    "random_forest": {"n_estimators": 5},
    "extra_trees": {"n_estimators": 5},
    "hist_gradient_boosting": {"max_iter": 5},
    "lightgbm": {"n_estimators": 5},
    "xgboost": {"n_estimators": 5, "learning_rate": 0.3},
    "catboost": {"n_estimators": 9, "learning_rate": 0.3},
    "mlp": {"hidden_layer_sizes": [16], "max_iter": 60, "learning_rate_init": 0.02},
    "linear": {},
    "blend": {"members": ["linear", {"extra_trees": {"n_estimators": 5}}], "folds": 2},
}
STEPWISE = {"hist_gradient_boosting", "lightgbm", "xgboost", "catboost", "mlp"}
NATIVE = [name for name, entry in CATALOGUE.items() if entry.takes_categories]

every_estimator = pytest.mark.parametrize(("algorithm", "task"), CASES, ids=map("-".join, CASES))
each_algorithm = pytest.mark.parametrize("algorithm", CATALOGUE)


@functools.cache
def table():
    """Return 90 rows: two numbers, a category, truth values, and targets of both tasks."""
    rng = np.random.default_rng(7)
    rooms = rng.normal(5, 2, 90).round(2)
    zone = rng.choice(["A", "B", "C"], 90)
    price = 20 + rooms * 3 + np.where(zone == "A", 4, 0) + rng.normal(0, 0.1, 90)
    made = pd.DataFrame(
        {
            "rooms": rooms,
            'ho"mes {é}': rng.integers(0, 4, 90),
            "zone": zone,
            "sold": rng.random(90) > 0.5,
            "price": price,
            "dear": np.where(price > np.median(price), "yes", "no"),
        }
    )
    made.loc[3, "rooms"] = np.nan
    made.loc[4, "zone"] = None
    return made


def settings(algorithm, task, *, hyperparameters=None, features=None, **training):
    own = {
        "numeric": {"columns": ["rooms", 'ho"mes {é}']},
        "categorical": {"columns": ["zone"]},
        "boolean": {"columns": ["sold"]},
    }
    chosen = SMALL[algorithm] if hyperparameters is None else hyperparameters
    return load_config(
        {
            "project": {"task": task},
            "data": {"target": TARGETS[task]},
            "features": features or own,
            "model": {"algorithm": algorithm, "hyperparameters": {algorithm: chosen}},
            "training": {"n_jobs": 1, **training},  # threads of several test processes wait for each other
        }
    )


def fitted(config, y=None):
    rows = table().head(ROWS)
    trainer = ModelTrainer(config)
    trainer.train(rows.drop(columns=["price", "dear"]), rows[config.data.target] if y is None else y)
    return trainer


@functools.cache
def trained(algorithm, task):
    """Return the trainer of a small model of one estimator; tests do not change it."""
    return fitted(settings(algorithm, task))


def results(model, X):
    found = [model.predict(X)]
    return [*found, model.predict_proba(X)] if hasattr(model, "predict_proba") else found


def same(left, right):
    return all(one.tobytes() == other.tobytes() for one, other in zip(left, right, strict=True))


@every_estimator
def test_shapes_and_types(algorithm, task):
    """One prediction a row, float64 or classes; probabilities in [0, 1] with a sum of 1."""
    trainer = trained(algorithm, task)
    predicted = trainer.predict(table())
    assert predicted.shape == (90,)
    if task == "regression":
        assert predicted.dtype == np.float64
        assert np.isfinite(predicted).all()
        assert trainer.classes == ()
        return
    probabilities = trainer.predict_proba(table())
    assert (probabilities.shape, probabilities.dtype) == ((90, 2), np.float64)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert trainer.classes == ("no", "yes")
    assert (predicted == np.array(trainer.classes)[probabilities.argmax(axis=1)]).all()


@every_estimator
def test_it_predicts_rows_that_it_has_not_seen(algorithm, task):
    """Unknown categories, gaps and columns of other types are no obstacle."""
    strange = table().tail(3).astype(object)
    strange.loc[:, "zone"] = ["new", None, "A"]
    strange.loc[:, "rooms"] = [None, 4, "5.5"]
    predicted = trained(algorithm, task).predict(strange)
    assert predicted.shape == (3,)
    assert set(predicted) <= {"no", "yes"} if task == "classification" else np.isfinite(predicted).all()


@every_estimator
def test_it_learns(algorithm, task):
    """It does better than the mean, or than a coin, on rows it was not fitted on."""
    y = table()[TARGETS[task]].tail(30)
    predicted = trained(algorithm, task).predict(table().tail(30))
    if task == "classification":
        assert (predicted == y).mean() > 0.6
    else:
        assert ((predicted - y) ** 2).mean() < y.var()


@every_estimator
def test_a_second_fit_is_the_same(algorithm, task):
    """Seed and rows decide everything: digest and predictions are equal, whatever the number of threads."""
    one = trained(algorithm, task)
    again = fitted(settings(algorithm, task, n_jobs=2))
    assert model_digest(one.model) == model_digest(again.model)
    assert same(results(one.model, table()), results(again.model, table()))


@every_estimator
def test_a_row_alone_is_predicted_as_in_its_table(algorithm, task):
    """What is served equals what was measured, to the last digit."""
    model = trained(algorithm, task).model
    alone = [results(model, table().iloc[[at]]) for at in range(0, 90, 9)]
    assert same(
        results(model, table().iloc[::9]), [np.concatenate(parts) for parts in zip(*alone, strict=True)]
    )


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # of a network that took all of its passes
@every_estimator
def test_a_clone_can_be_fitted(algorithm, task):
    """Tools of scikit-learn's own clone and fit the pipeline."""
    trainer = trained(algorithm, task)
    copy = clone(trainer.model)
    copy.fit(table().head(ROWS), np.array(table()[TARGETS[task]].head(ROWS).tolist()))
    assert same(results(trainer.model, table()), results(copy, table()))


@every_estimator
def test_it_travels_in_a_package(algorithm, task, tmp_path):
    """Unpacked it predicts what it predicted before, holds no pickle and has the same digest."""
    trainer = trained(algorithm, task)
    record = pack(
        trainer.model,
        tmp_path,
        algorithm=algorithm,
        task=task,
        target=TARGETS[task],
        inputs=FeatureEngineer(trainer.config).inputs,
        code=trainer.code_files,
    )
    again = unpack(tmp_path, record)
    assert same(results(trainer.model, table()), results(again, table()))
    assert record.digest == model_digest(trainer.model) == model_digest(again)


@every_estimator
def test_importances_are_shares_by_feature(algorithm, task):
    """They sum to 1 and the largest comes first."""
    trainer = trained(algorithm, task)
    shares = trainer.get_feature_importance(table(), table()[TARGETS[task]])
    assert set(shares) == set(trainer.model["features"][-1].get_feature_names_out())
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert min(shares.values()) >= 0
    assert "rooms" in list(shares)[:2]


@each_algorithm
def test_threads_are_those_of_the_settings_and_one_afterwards(algorithm):
    """It is built with `training.n_jobs`, and sums are made in one order when it predicts."""
    config = settings(algorithm, "regression", n_jobs=3)
    estimator = build_estimator(config)
    assert estimator.get_params().get("n_jobs", 3) == 3  # a blend divides them among its members
    assert all(learner.get_params()["random_state"] == 42 for learner in learners(estimator))
    parameters = trained(algorithm, "regression").model.get_params()
    assert {value for name, value in parameters.items() if name.endswith("n_jobs")} <= {None, 1}


@pytest.mark.parametrize("columns", [["rooms"], ["rooms", "constant"]], ids=["one", "constant"])
@every_estimator
def test_few_features(algorithm, task, columns):
    """A single feature will do, and a constant one beside it does no harm."""
    config = settings(algorithm, task, features={"numeric": {"columns": columns}})
    rows = table().assign(constant=1.0)
    trainer = ModelTrainer(config)
    trainer.train(rows, rows[TARGETS[task]])
    assert trainer.predict(rows).shape == (90,)


@each_algorithm
def test_nothing_to_learn_from(algorithm):
    """Where every feature is constant the mean is predicted, or what is missing is said."""
    config = settings(algorithm, "regression", features={"numeric": {"columns": ["constant"]}})
    rows = table().assign(constant=1.0)
    trainer = ModelTrainer(config)
    if algorithm == "catboost":
        with pytest.raises(DataInvalidError, match="catboost has nothing to learn from"):
            trainer.train(rows, rows["price"])
    else:
        trainer.train(rows, rows["price"])
        np.testing.assert_allclose(trainer.predict(rows), rows["price"].mean(), rtol=0.2)


@each_algorithm
def test_gaps(algorithm):
    """Gaps that nothing fills are learned from, or the setting that fills them is named."""
    columns = {"columns": ["rooms"], "impute": "none"}
    config = settings(algorithm, "regression", features={"numeric": columns})
    if algorithm in {"mlp", "linear", "blend"}:
        with pytest.raises(DataInvalidError, match="cannot take missing values") as caught:
            fitted(config)
        assert caught.value.where == "features.numeric.impute"
    else:
        assert np.isfinite(fitted(config).predict(table())).all()


@pytest.mark.parametrize(
    "labels", [("hi", "lo", "mid"), (3, 7, 9), (False, True)], ids=["text", "integers", "truth values"]
)
@each_algorithm
def test_classes_of_any_kind(algorithm, labels):
    """Classes come back as they were given, sorted, each with its probabilities."""
    ranks = table()["price"].head(ROWS).rank(pct=True, method="first")
    y = pd.Series([labels[int(rank * len(labels) - 1e-9)] for rank in ranks])
    trainer = fitted(settings(algorithm, "classification"), y)
    assert trainer.classes == tuple(sorted(labels))
    assert {type(label) for label in trainer.classes} == {type(labels[0])}
    predicted = trainer.predict(table().head(ROWS))
    assert set(predicted.tolist()) <= set(labels)
    assert (predicted == y).mean() > 1 / len(labels)
    probabilities = trainer.predict_proba(table())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)


@each_algorithm
def test_an_unknown_hyperparameter_is_named_with_its_path(algorithm):
    """It is refused before anything is fitted, with exit code 2."""
    with pytest.raises(ConfigError) as caught:
        build_estimator(
            settings(algorithm, "regression", hyperparameters={**SMALL[algorithm], "nonsense": 1})
        )
    assert caught.value.mistakes[0].startswith(f"model.hyperparameters.{algorithm}.nonsense: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("transform", ["log", "quantile"])
@each_algorithm
def test_a_transformed_target(algorithm, transform, tmp_path):
    """What is learned is transformed; predictions are in the target's own units, also after a journey."""
    config = settings(algorithm, "regression", target_transform=transform)
    trainer = fitted(config)
    predicted = trainer.predict(table())
    y = table()["price"]
    assert ((predicted - y) ** 2).mean() < y.var()
    record = pack(
        trainer.model,
        tmp_path,
        algorithm=algorithm,
        task="regression",
        target="price",
        inputs=FeatureEngineer(config).inputs,
        code=trainer.code_files,
    )
    again = unpack(tmp_path, record)
    assert again.predict(table()).tobytes() == predicted.tobytes()
    assert record.digest == model_digest(again) == model_digest(fitted(config).model)
    alone = [again.predict(table().iloc[[at]]) for at in range(0, 90, 9)]
    assert np.concatenate(alone).tobytes() == predicted[::9].tobytes()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("algorithm", NATIVE)
def test_categories_as_they_are(algorithm, task, tmp_path):
    """Given codes it splits by sets of categories, also those far apart; an unknown one is a missing one."""
    rng = np.random.default_rng(3)
    zone = rng.choice(list("ABCDEFGH"), 1600)
    is_high = np.isin(zone, list("ACEG"))
    rows = pd.DataFrame({"zone": zone, "price": np.where(is_high, 9.0, 1.0)})
    rows["dear"] = np.where(is_high, "yes", "no")
    grown = "max_iter" if algorithm == "hist_gradient_boosting" else "n_estimators"
    config = settings(
        algorithm,
        task,
        features={"categorical": {"columns": ["zone"], "encode": "native"}},
        hyperparameters={grown: 1, "learning_rate": 1.0},
    )
    trainer = ModelTrainer(config)
    trainer.train(rows, rows[TARGETS[task]])
    predicted = trainer.predict(rows)
    assert len(set(predicted)) == 2
    assert ((predicted == predicted[is_high][0]) == is_high).all()
    strange = pd.DataFrame({"zone": ["new", None, "A"]})
    one, other, _ = trainer.predict(strange)
    assert one == other
    record = pack(
        trainer.model,
        tmp_path,
        algorithm=algorithm,
        task=task,
        target=TARGETS[task],
        inputs=FeatureEngineer(config).inputs,
        code=trainer.code_files,
    )
    again = unpack(tmp_path, record)
    assert same(results(again, rows), results(trainer.model, rows))
    assert record.digest == model_digest(again)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("algorithm", sorted(STEPWISE))
def test_it_stops_early(algorithm, task):
    """The number of iterations is found on rows held back, the same twice, and recorded as its setting."""
    name = "max_iter" if algorithm in {"hist_gradient_boosting", "mlp"} else "n_estimators"
    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"rooms": rng.normal(size=200)})
    rows["price"] = rows["rooms"] + rng.normal(size=200)
    rows["dear"] = np.where(rows["price"] > 0, "yes", "no")
    quick = {"learning_rate": 0.5}
    if algorithm == "mlp":
        quick = {"learning_rate_init": 0.05, "hidden_layer_sizes": [16]}
    config = settings(
        algorithm,
        task,
        features={"numeric": {"columns": ["rooms"]}},
        hyperparameters={name: 150, **quick},
        early_stopping={"rounds": 5, "share": 0.2},
    )
    trainers = [ModelTrainer(config) for _ in range(2)]
    for trainer in trainers:
        trainer.train(rows, rows[TARGETS[task]])
    counts = [inner(trainer.model[-1]).get_params()[name] for trainer in trainers]
    assert counts[0] == counts[1]
    assert 1 <= counts[0] < 140
    assert model_digest(trainers[0].model) == model_digest(trainers[1].model)


@each_algorithm
def test_early_stopping_is_no_obstacle(algorithm):
    """Estimators that do not learn step by step are fitted as without it; members of a blend stop each."""
    chosen = {"members": ["linear", {"xgboost": {"n_estimators": 60}}], "folds": 2}
    config = settings(
        algorithm,
        "regression",
        hyperparameters=chosen if algorithm == "blend" else None,
        early_stopping={"rounds": 2, "share": 0.2},
    )
    estimator = fitted(config).model[-1]
    if algorithm in {"random_forest", "extra_trees", "linear"}:
        assert estimator.get_params() == trained(algorithm, "regression").model[-1].get_params()
    if algorithm == "blend":
        assert learners(estimator)[1].n_estimators <= 60
        assert sum(estimator.weights) == pytest.approx(1)
