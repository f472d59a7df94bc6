"""How much work it is to see what each feature counts, where features have to be shuffled."""

import numpy as np
import pandas as pd
import pytest

from modelbook.models.train import ModelTrainer


@pytest.mark.parametrize(
    ("features", "shuffles", "rows"), [(10, 50, 2000), (50, 250, 400), (250, 500, 200), (1100, 1100, 100)]
)
def test_shuffling_stays_bounded(settings, *, features, shuffles, rows):
    """Many features take about as many predictions as ten, in no fewer than a hundred rows each."""
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(rows + 10, features))).add_prefix("x")
    chosen = {"hidden_layer_sizes": [1], "max_iter": 1}
    config = settings("mlp", hyperparameters=chosen, features={"numeric": {"columns": list(X)}})
    trainer = ModelTrainer(config)
    estimator = trainer.train(X, X["x0"])["estimator"]
    sizes = []
    predict = estimator.predict
    estimator.predict = lambda matrix: sizes.append(len(matrix)) or predict(matrix)
    trainer.get_feature_importance(X, X["x0"])
    assert sizes == [rows] * (1 + shuffles)


def test_of_many_features_the_one_that_tells_comes_first(settings):
    """Shuffled once among some hundred rows, it is still told from noise."""
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(400, 300))).add_prefix("x")
    config = settings("mlp", features={"numeric": {"columns": list(X)}})
    trainer = ModelTrainer(config)
    y = 9 * X["x7"]
    trainer.train(X, y)
    assert next(iter(trainer.get_feature_importance(X, y))) == "x7"
