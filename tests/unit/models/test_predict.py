"""Predictions and probabilities made together are those made one by one."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Perceptron

from modelbook.models import predict
from modelbook.models.estimators import CATALOGUE
from modelbook.models.predict import predict_rows
from modelbook.models.train import ModelTrainer

TARGETS = {"regression": "price", "classification": "dear"}


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("algorithm", CATALOGUE)
def test_same_as_one_by_one(settings, table, *, algorithm: str, task: str, monkeypatch):
    """For every estimator of the catalogue, in several chunks, to the last bit."""
    monkeypatch.setattr(predict, "_CHUNK_ROWS", 40)
    trainer = ModelTrainer(settings(algorithm, task=task))
    X = table.drop(columns=["price", "dear"])
    model = trainer.train(X, table[TARGETS[task]])
    predictions, probabilities = predict_rows(model, X)
    np.testing.assert_array_equal(predictions, trainer.predict(X))
    if task == "classification":
        np.testing.assert_array_equal(probabilities, trainer.predict_proba(X))
    else:
        assert probabilities is None


def test_bare_estimator():
    """A model that is no pipeline, and a classifier without probabilities, predict as well."""
    X = pd.DataFrame({"a": [0.0, 1.0, 2.0]})
    line = LinearRegression().fit(X, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(predict_rows(line, X)[0], line.predict(X))
    labels, probabilities = predict_rows(Perceptron().fit(X, ["a", "b", "b"]), X)
    assert set(labels) <= {"a", "b"}
    assert probabilities is None


def test_blas_has_one_thread_whatever_was_imported_since():
    """Libraries that come with a later import are limited, too: they are looked for again."""
    before = predict._libraries(len(sys.modules))
    sys.modules["a_module_of_this_test"] = sys
    try:
        assert predict._libraries(len(sys.modules)) is not before
    finally:
        del sys.modules["a_module_of_this_test"]
