"""What holds for every estimator of the catalogue, in both tasks."""

import numpy as np
import pytest
import skops.io
from sklearn.base import clone

from modelbook.features.code import class_names, load_code
from modelbook.models.estimators import CATALOGUE, TRUSTED_TYPES
from modelbook.models.train import ModelTrainer

CASES = [(name, task) for name in CATALOGUE for task in ("regression", "classification")]
pytestmark = pytest.mark.parametrize(("algorithm", "task"), CASES, ids=map("-".join, CASES))


@pytest.fixture
def trained(algorithm, task, settings, table):  # noqa: PLR0917
    config = settings(algorithm, task=task)
    X, y = table.drop(columns=["price", "dear"]), table[config.data.target]
    trainer = ModelTrainer(config)
    trainer.train(X.head(60), y.head(60))
    return trainer, X, y


def results(model, X):
    found = [model.predict(X)]
    return [*found, model.predict_proba(X)] if hasattr(model, "predict_proba") else found


def same(left, right):
    return all(one.tobytes() == other.tobytes() for one, other in zip(left, right, strict=True))


def test_it_predicts_rows_that_it_has_not_seen(trained, task):
    """Unknown categories, gaps and columns of other types are no obstacle."""
    trainer, X, _ = trained
    strange = X.tail(3).astype(object)
    strange.loc[:, "zone"] = ["new", None, "A"]
    strange.loc[:, "rooms"] = [None, 4, "5.5"]
    predicted = trainer.predict(strange)
    assert predicted.shape == (3,)
    if task == "classification":
        assert set(predicted) <= {"no", "yes"}
        assert trainer.classes == ("no", "yes")
        np.testing.assert_allclose(trainer.predict_proba(strange).sum(axis=1), 1)
    else:
        assert np.isfinite(predicted).all()
        assert trainer.classes == ()


def test_it_learns(trained, task):
    """It does better than the mean, or than a coin, on rows it was not fitted on."""
    trainer, X, y = trained
    predicted = trainer.predict(X.tail(30))
    if task == "classification":
        assert (predicted == y.tail(30)).mean() > 0.6
    else:
        assert ((predicted - y.tail(30)) ** 2).mean() < y.tail(30).var()


def test_a_second_fit_is_the_same(trained):
    """The seed decides everything: predictions are equal to the last digit, whatever the threads."""
    trainer, X, y = trained
    other = trainer.config.model_copy(
        update={"training": trainer.config.training.model_copy(update={"n_jobs": 1})}
    )
    again = ModelTrainer(other)
    again.train(X.head(60), y.head(60))
    assert same(results(trainer.model, X), results(again.model, X))


def test_a_row_alone_is_predicted_as_in_its_table(trained):
    """What is served equals what was measured, to the last digit."""
    trainer, X, _ = trained
    whole = results(trainer.model, X)
    alone = [results(trainer.model, X.iloc[[at]]) for at in range(len(X))]
    assert same(whole, [np.concatenate(parts) for parts in zip(*alone, strict=True)])


def test_a_clone_can_be_fitted(trained):
    """Cross-validation fits one in each fold."""
    trainer, X, y = trained
    copy = clone(trainer.model)
    copy.fit(X.head(60), y.head(60).to_numpy())
    assert copy.predict(X).shape == (90,)


def test_it_goes_through_skops_with_our_own_list(trained):
    """Types outside the list and the shipped code are not needed; predictions come back exactly."""
    trainer, X, _ = trained
    modules = [load_code(path) for path in trainer.code_files]
    own = {f"{module.__name__}.{name}" for module in modules for name in class_names(module)}
    loaded = skops.io.loads(skops.io.dumps(trainer.model), trusted=sorted(TRUSTED_TYPES | own))
    assert same(results(trainer.model, X), results(loaded, X))


def test_importances_are_shares_by_feature(trained):
    """They sum to 1 and the largest comes first."""
    trainer, X, y = trained
    shares = trainer.get_feature_importance(X, y)
    assert set(shares) == set(trainer.model["features"][-1].get_feature_names_out())
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert min(shares.values()) >= 0
    assert "rooms" in list(shares)[:4]


def test_it_is_left_with_one_thread(trained):
    """Sums over trees are then made in one order."""
    parameters = trained[0].model.get_params()
    assert {value for name, value in parameters.items() if name.endswith("n_jobs")} <= {None, 1}
