import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from modelbook.config import load_config
from modelbook.features.engineer import FeatureEngineer
from modelbook.models.build import build_estimator
from modelbook.models.digest import model_digest
from modelbook.models.estimators import CATALOGUE
from modelbook.models.remembered import RememberedFeatures, Shelf, remember, with_fitted
from modelbook.models.spaces import default_space
from modelbook.models.train import ModelTrainer

SETTINGS = {
    "data": {"target": "price"},
    "features": {
        "numeric": {"columns": ["area"]},
        "categorical": {"columns": ["town"], "encode": "target"},
    },
    "model": {"algorithm": "random_forest", "hyperparameters": {"random_forest": {"n_estimators": 5}}},
    "training": {"n_jobs": 1, "cv_folds": 3},
}


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(3)
    area = random.uniform(30, 200, 80)
    return pd.DataFrame(
        {"area": area, "town": random.choice(["a", "b"], 80), "price": area * 3 + random.normal(0, 5, 80)}
    )


def score(actual, predicted, _):
    return {"rmse": float(np.sqrt(np.mean((actual - predicted) ** 2)))}


@pytest.fixture
def counted(monkeypatch):
    """Return the number of rows of each fit of features so far."""
    fits = []
    original = Pipeline.fit_transform
    monkeypatch.setattr(
        Pipeline, "fit_transform", lambda self, X, y=None: fits.append(len(X)) or original(self, X, y)
    )
    return fits


def test_a_model_on_remembered_features_is_the_same_to_the_last_bit(table):
    """Scores, predictions and digest are those of a model that makes its features itself."""
    X, y = table.drop(columns="price"), table["price"]
    plain, remembering, shelf = ModelTrainer(SETTINGS), ModelTrainer(SETTINGS), Shelf()
    found = []
    for trainer, features in (
        (plain, None),
        (remembering, remember(FeatureEngineer(SETTINGS).build(), shelf)),
    ):
        scores = trainer.cross_validate(X, y, score=score, transformer=features)
        trainer.train(X, y, transformer=features)
        predicted = trainer.predict(X)
        found.append((scores, predicted.tolist(), model_digest(with_fitted(trainer.model))))
    assert found[0] == found[1]
    assert not isinstance(with_fitted(remembering.model).steps[0][1], RememberedFeatures)


def test_features_are_fitted_once_for_all_models_on_the_same_rows(table, counted):
    """Two models with three folds each fit them four times: once a fold, and once on all rows."""
    X, y, shelf = table.drop(columns="price"), table["price"], Shelf()
    for _ in range(2):
        trainer = ModelTrainer(SETTINGS)
        features = remember(FeatureEngineer(SETTINGS).build(), shelf)
        trainer.cross_validate(X, y, score=score, transformer=features)
        trainer.train(X, y, transformer=features)
    assert len(counted) == 4


def test_other_rows_or_another_target_are_other_features(table, counted):
    """What is remembered is told apart by rows and target."""
    X, y, shelf = table.drop(columns="price"), table["price"].to_numpy(), Shelf()
    features = remember(FeatureEngineer(SETTINGS).build(), shelf)
    for rows, target in ((X, y), (X.iloc[:50], y[:50]), (X, y + 1), (X, y)):
        clone(features).fit_transform(rows, target)
    assert counted == [80, 50, 80]


def test_what_finds_no_room_is_made_anew(table, counted):
    """A shelf without room remembers nothing, and the features are the same."""
    X, y = table.drop(columns="price"), table["price"].to_numpy()
    features = remember(FeatureEngineer(SETTINGS).build(), Shelf(most_bytes=0))
    first, second = features.fit_transform(X, y), features.fit_transform(X, y)
    assert first is not second
    assert np.array_equal(first, second)
    assert len(counted) == 2


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("algorithm", sorted(CATALOGUE))
def test_the_default_space_of_an_algorithm_is_one_that_it_accepts(algorithm, task):
    """Both ends of each range and every choice make an estimator."""
    for name, entry in default_space(algorithm, task).items():
        values = entry if isinstance(entry, list) else [entry["low"], entry["high"]]
        for value in values:
            model = {"algorithm": algorithm, "hyperparameters": {algorithm: {name: value}}}
            build_estimator(load_config({"project": {"task": task}, "model": model}))
