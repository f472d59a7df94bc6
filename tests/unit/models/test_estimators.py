"""Facts about the catalogue and about hyperparameters."""

import os
import subprocess
import sys

import pytest

from modelbook.errors import ConfigError
from modelbook.models.build import build_estimator
from modelbook.models.estimators import (
    CATALOGUE,
    TRUSTED_TYPES,
    check_algorithm,
    code_files,
    distributions,
    thread_count,
    usable_cores,
)


@pytest.mark.parametrize("algorithm", [name for name in CATALOGUE if name != "blend"])
def test_seed_and_threads_come_from_the_training_settings(settings, algorithm):
    """They are set wherever the estimator takes them."""
    config = settings(algorithm, training={"seed": 9, "n_jobs": 3})
    parameters = build_estimator(config).get_params()
    assert parameters["random_state"] == 9
    assert parameters.get("n_jobs", 3) == 3
    assert build_estimator(config, 1).get_params().get("n_jobs", 1) == 1


def test_a_hyperparameter_wins_over_defaults_and_training_settings(settings):
    """Settings copied from scikit-learn code work as they are."""
    chosen = {"n_estimators": 7, "random_state": 1, "n_jobs": 2}
    estimator = build_estimator(settings("random_forest", hyperparameters=chosen))
    assert {name: estimator.get_params()[name] for name in chosen} == chosen


@pytest.mark.parametrize(
    ("algorithm", "name", "proposal"),
    [
        ("random_forest", "n_estimatorz", "did you mean n_estimators?"),
        ("linear", "alfa", "did you mean alpha?"),
        ("lightgbm", "num_leafs", "did you mean num_leaves?"),
    ],
)
def test_an_unknown_hyperparameter_is_named_with_its_path(settings, algorithm, name, proposal):  # noqa: PLR0917
    """The nearest name is proposed; the exit code is 2."""
    with pytest.raises(ConfigError) as caught:
        build_estimator(settings(algorithm, hyperparameters={name: 1}))
    assert caught.value.mistakes == (f"model.hyperparameters.{algorithm}.{name}: unknown; {proposal}",)
    assert caught.value.exit_code == 2


def test_every_unknown_hyperparameter_is_named(settings):
    """Not the first one alone."""
    with pytest.raises(ConfigError) as caught:
        build_estimator(settings("linear", hyperparameters={"alfa": 1, "zzzzzzz": 2}))
    assert len(caught.value.mistakes) == 2
    assert "it has alpha, copy_X," in caught.value.mistakes[1]


def test_a_value_that_is_not_accepted_is_named_before_anything_is_fitted(settings):
    """The path leads to it and scikit-learn's own words say why."""
    with pytest.raises(ConfigError) as caught:
        build_estimator(settings("random_forest", hyperparameters={"n_estimators": -5}))
    assert caught.value.mistakes[0].startswith(
        "model.hyperparameters.random_forest.n_estimators: The 'n_estimators' parameter"
    )


@pytest.mark.parametrize("loss", ["RMSEWithUncertainty", "MultiQuantile:alpha=0.1,0.9"])
def test_a_loss_that_predicts_several_numbers_is_refused_before_anything_is_fitted(settings, loss):
    """The path leads to it, also within a blend; the exit code is 2."""
    chosen = {"loss_function": loss}
    blend = {"members": ["linear", {"catboost": chosen}]}
    for algorithm, given, path in (("catboost", chosen, ""), ("blend", blend, "members.catboost.")):
        with pytest.raises(ConfigError) as caught:
            build_estimator(settings(algorithm, hyperparameters=given))
        assert caught.value.mistakes[0].startswith(
            f"model.hyperparameters.{algorithm}.{path}loss_function: The 'loss_function' parameter"
        )
        assert caught.value.exit_code == 2


def test_lightgbm_takes_names_of_its_own(settings):
    """Some that are common have no place in its scikit-learn signature."""
    chosen = {"max_bin": 63, "path_smooth": 1.0}
    parameters = build_estimator(settings("lightgbm", hyperparameters=chosen)).get_params()
    assert parameters["max_bin"] == 63


@pytest.mark.parametrize(("name", "near"), [("ranom_forest", "random_forest"), ("MyModl", "MyModel")])
def test_an_unknown_algorithm_is_told_what_there_is(settings, tmp_path, name, near):  # noqa: PLR0917
    """The catalogue and the classes of features.py."""
    (tmp_path / "features.py").write_text("class MyModel: ...\n")
    with pytest.raises(ConfigError) as caught:
        build_estimator(settings(name, folder=tmp_path))
    assert caught.value.mistakes[0].endswith(
        "none of random_forest, extra_trees, hist_gradient_boosting, lightgbm, xgboost, catboost, mlp, "
        "linear, blend, auto, MyModel"
    )
    assert near in (caught.value.hint or "")


def test_without_a_features_file_an_unknown_algorithm_is_still_a_plain_mistake(settings, tmp_path):
    """No file has to exist for that."""
    with pytest.raises(ConfigError, match="there is no algorithm nothing_like_it"):
        build_estimator(settings("nothing_like_it", folder=tmp_path))


USER = """
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge

class Doubled(Ridge):
    pass

class NoEstimator:
    pass

class Picky(RegressorMixin, BaseEstimator):
    def __init__(self, factor=1):
        self.factor = factor
        if factor > 3:
            raise ValueError("too large")
    def fit(self, X, y): ...
    def predict(self, X): ...

class Demanding(Picky):
    def __init__(self, factor):
        self.factor = factor
"""


def test_an_estimator_of_the_users_own_is_found_by_its_name(settings, tmp_path):
    """It is seeded and checked as those of the catalogue are."""
    (tmp_path / "features.py").write_text(USER)
    config = settings("Doubled", folder=tmp_path, hyperparameters={"alpha": 3.0})
    assert repr(build_estimator(config)) == "Doubled(alpha=3.0, random_state=42)"
    assert code_files(config) == (tmp_path / "features.py",)
    with pytest.raises(ConfigError, match="does not accept"):
        build_estimator(settings("Doubled", folder=tmp_path, hyperparameters={"alpha": -1.0}))


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("NoEstimator", {}, "NoEstimator is not an estimator"),
        ("Picky", {"factor": 4}, r"features\.py failed to make the estimator"),
        ("Picky", {"fctor": 4}, "a hyperparameter that it does not have"),
        ("Demanding", {}, "Demanding does not accept its hyperparameters"),
    ],
)
def test_a_class_that_does_not_do_is_refused(settings, tmp_path, name, hyperparameters, message):  # noqa: PLR0917
    """The settings are wrong."""
    (tmp_path / "features.py").write_text(USER)
    with pytest.raises(ConfigError, match=message):
        build_estimator(settings(name, folder=tmp_path, hyperparameters=hyperparameters))


def test_minus_one_is_every_core_that_may_be_used():
    """A container may have fewer than the machine."""
    assert thread_count(-1) == usable_cores()
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_trusted_types_can_be_told_by_a_file_to_do_nothing_else():
    """The list has types of estimators and containers, never something that calls what a file names."""
    dangerous = ("builtins.", "functools.", "operator.", "os.", "subprocess.", "types.", "importlib.")
    assert not [name for name in TRUSTED_TYPES if name.startswith(dangerous)]


def test_only_what_an_algorithm_needs_is_required(settings):
    """scikit-learn is there in any case; a class of the user's needs nothing that we know of."""
    assert distributions(settings("lightgbm")) == ("lightgbm",)
    assert distributions(settings("Mine")) == ()
    blend = {"members": ["linear", "xgboost", {"catboost": {"depth": 3}}]}
    assert distributions(settings("blend", hyperparameters=blend)) == ("xgboost-cpu", "xgboost", "catboost")


@pytest.mark.parametrize("algorithm", ["xgboost", "catboost", "blend"])
def test_an_extra_that_is_not_installed(settings, algorithm, monkeypatch):
    """The extra that brings it is named before anything is fitted, also for a member of a blend; exit 2."""
    monkeypatch.setattr("modelbook.models.estimators.find_spec", lambda _: None)
    chosen = {"members": ["linear", "xgboost"]} if algorithm == "blend" else {}
    with pytest.raises(ConfigError) as caught:
        check_algorithm(settings(algorithm, hyperparameters=chosen))
    missing = "xgboost" if algorithm == "blend" else algorithm
    assert caught.value.what == f"{missing} is not installed"
    assert caught.value.hint == f"pip install 'modelbook[{missing}]'"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("algorithm", ["random_forest", "mlp", "linear"])
def test_categories_as_they_are_need_an_estimator_that_takes_them(settings, algorithm):
    """Those that do are named."""
    features = {"categorical": {"columns": ["zone"], "encode": "native"}}
    with pytest.raises(ConfigError, match="takes no categories") as caught:
        check_algorithm(settings(algorithm, features=features))
    assert "hist_gradient_boosting, lightgbm, xgboost, catboost and blends" in caught.value.mistakes[0]
    check_algorithm(settings("catboost", features=features))
    check_algorithm(settings("blend", features=features, hyperparameters={"members": ["xgboost"]}))


def test_the_catalogue_can_be_read_without_scikit_learn(tmp_path):
    """A process that only looks up names starts five times faster."""
    code = "import sys, modelbook.models.estimators; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
