"""Facts about features made of a target that nothing tells anything about: it was shuffled."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score

from modelbook.features.engineer import FeatureEngineer
from modelbook.models.train import ModelTrainer

ROWS = 6000
FEATURES = {
    "numeric": {"columns": ["lat", "lon", "a", "b"]},
    "categorical": {"columns": ["zone"], "encode": "target"},
    "ratios": [{"numerator": "a", "denominator": "b"}],
    "interactions": [{"product": ["a", "b"]}, {"difference": ["a", "b"]}, {"sum": ["a", "b"]}],
    "curves": {"log": ["a"], "square_root": ["b"]},
    "counts": ["zone", "a"],
    "geography": {
        "latitude": "lat",
        "longitude": "lon",
        "neighbours": [1, 5, 20],
        "columns": ["a"],
        "clusters": 5,
        "rotations": [45],
    },
}
ENCODED_BY_TARGET = ("zone", "near_1_target", "near_5_target", "near_20_target")


def table(seed):
    """Rows that share places and zones with others, so that there is something to leak."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "lat": rng.integers(0, 40, ROWS) / 100 + 50,
            "lon": rng.integers(0, 40, ROWS) / 100 + 5,
            "a": rng.poisson(20, ROWS).astype(float),
            "b": rng.normal(size=ROWS),
            "zone": rng.integers(0, 400, ROWS).astype(str),
        }
    )
    return X, rng.permutation(rng.gamma(2.0, 50_000, ROWS))


@pytest.fixture(scope="module", params=[0, 1])
def made(request):
    X, y = table(request.param)
    engineer = FeatureEngineer({"features": FEATURES})
    half = ROWS // 2
    return engineer.fit_transform(X[:half], y[:half]), y[:half], engineer.transform(X[half:]), y[half:]


def test_no_feature_of_training_rows_goes_with_a_shuffled_target(made):
    """Cross-fitted, a row's own target is in none of its features."""
    train, y, _, _ = made
    for name in train:
        assert np.corrcoef(train[name], y)[0, 1] ** 2 <= 0.005, name


def test_no_feature_finds_a_shuffled_target(made):
    """Each by itself, and all together, score no better than the mean on held-out rows."""
    train, y_train, test, y_test = made
    assert set(ENCODED_BY_TARGET) < set(train)
    for names in [*([name] for name in ENCODED_BY_TARGET), list(train)]:
        model = HistGradientBoostingRegressor(max_iter=60, random_state=0).fit(train[names], y_train)
        assert r2_score(y_test, model.predict(test[names])) <= 0.02, names


def test_a_model_does_not_find_a_shuffled_target():
    """Trained as in a project, with every feature, it is no better than the mean."""
    X, y = table(2)
    config = {"features": FEATURES, "model": {"algorithm": "linear"}}
    half = ROWS // 2
    trainer = ModelTrainer(config)
    trainer.train(X[:half], y[:half])
    assert r2_score(y[half:], trainer.predict(X[half:])) <= 0.02
    assert r2_score(y[:half], trainer.predict(X[:half])) <= 0.05


@pytest.mark.parametrize("count", [2, 3])
def test_no_feature_finds_shuffled_classes(count):
    """Trees and a linear model on every feature are right no more often than the commonest class is."""
    X, _ = table(3)
    y = np.random.default_rng(99).choice(["a", "b", "c"][:count], ROWS)
    half = ROWS // 2
    config = {"project": {"task": "classification"}, "features": FEATURES, "model": {"algorithm": "linear"}}
    trainer = ModelTrainer(config)
    trainer.train(X[:half], y[:half])
    engineer = FeatureEngineer(config)
    train, test = engineer.fit_transform(X[:half], y[:half]), engineer.transform(X[half:])
    for name in train:
        for label in np.unique(y):
            assert np.corrcoef(train[name], y[:half] == label)[0, 1] ** 2 <= 0.005, (name, label)
    trees = HistGradientBoostingClassifier(max_iter=15, random_state=0).fit(train, y[:half])
    share = float(np.unique(y[half:], return_counts=True)[1].max()) / half
    for predicted in (trees.predict(test), trainer.predict(X[half:])):
        assert np.mean(predicted == y[half:]) <= share + 1.96 * np.sqrt(share * (1 - share) / half)
