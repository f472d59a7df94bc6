"""Facts about the ModelTrainer."""

from datetime import UTC, datetime

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor, StackingRegressor
from sklearn.linear_model import Ridge

from modelbook.errors import ConfigError, DataInvalidError, UsageError
from modelbook.features.engineer import FeatureEngineer
from modelbook.models.fit import set_single_threaded
from modelbook.models.predict import in_chunks
from modelbook.models.train import ModelTrainer


def raw(table):
    return table.drop(columns=["price", "dear"])


def test_the_split_is_disjoint_and_whole(settings, table):
    """Every row is in one part, under its own index, without the target in X."""
    table.index += 100
    X_train, X_val, y_train, y_val = ModelTrainer(settings()).split_data(table)
    assert sorted([*X_train.index, *X_val.index]) == table.index.tolist()
    assert len(X_val) == 18
    assert "price" not in X_train.columns
    assert X_train.index.equals(y_train.index)
    assert y_val.equals(table["price"].loc[X_val.index])


def test_a_table_without_the_target_cannot_be_split(settings, table):
    """The column is named."""
    with pytest.raises(DataInvalidError) as caught:
        ModelTrainer(settings()).split_data(raw(table))
    assert caught.value.got == "no price"


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["no", "yes"], ("no", "yes")),
        ([False, True], (False, True)),
        ([3, 8], (3, 8)),
        ([0.0, 1.0], (0, 1)),
        (["a", "b", "c"], ("a", "b", "c")),
    ],
)
@pytest.mark.parametrize("algorithm", ["linear", "lightgbm"])
def test_classes_come_back_as_they_were_given(settings, table, algorithm, labels, classes):  # noqa: PLR0917
    """Text, truth values and integers, also those that pandas reads as floats."""
    trainer = ModelTrainer(settings(algorithm, task="classification"))
    y = pd.Series([labels[at % len(labels)] for at in range(90)])
    trainer.train(raw(table), y)
    assert trainer.classes == classes
    assert [type(label) for label in trainer.classes] == [type(label) for label in classes]
    assert set(trainer.predict(raw(table)).tolist()) <= set(classes)
    assert trainer.predict_proba(raw(table)).shape == (90, len(classes))


@pytest.mark.parametrize(
    ("task", "y", "message"),
    [
        ("regression", ["secret", "b"] * 45, "the target is not a number"),
        ("regression", [1.0, None] * 45, "the target has missing values"),
        ("regression", [1.0, np.inf] * 45, "the target has infinite values"),
        ("classification", [1.5, 2.5] * 45, "the target has no classes"),
        ("classification", ["a", None] * 45, "the target has missing values"),
    ],
)
def test_a_target_that_cannot_be_learned_is_invalid_data(settings, table, task, y, message):  # noqa: PLR0917
    """The exit code is 3, and no value is quoted."""
    with pytest.raises(DataInvalidError, match=message) as caught:
        ModelTrainer(settings(task=task)).train(raw(table), pd.Series(y, name="price"))
    assert caught.value.exit_code == 3
    assert caught.value.where == "price"
    assert "secret" not in str(caught.value)


def test_one_class_cannot_be_learned(settings, table):
    """There is nothing to tell apart; the exit code is 3."""
    with pytest.raises(DataInvalidError, match="the target has one class only") as caught:
        ModelTrainer(settings(task="classification")).train(raw(table), ["a"] * 90)
    assert (caught.value.where, caught.value.exit_code) == ("data.target: dear", 3)


@pytest.mark.parametrize("algorithm", ["linear", "mlp"])
def test_rows_of_one_class_have_importances(settings, table, algorithm):
    """What was learned can be looked at on rows that happen to be of one class."""
    trainer = ModelTrainer(settings(algorithm, task="classification"))
    trainer.train(raw(table), table["dear"])
    rows = table[table["dear"] == "no"]
    assert sum(trainer.get_feature_importance(raw(rows), rows["dear"]).values()) == pytest.approx(1)


def test_an_empty_table_cannot_be_learned(settings, table):
    """There is nothing to learn."""
    with pytest.raises(DataInvalidError, match="there are no rows to train on"):
        ModelTrainer(settings()).train(raw(table).head(0), [])


def test_an_empty_table_cannot_be_predicted(settings, table):
    """Nor is it taken for a wrong setting."""
    trainer = ModelTrainer(settings())
    trainer.train(raw(table), table["price"])
    with pytest.raises(DataInvalidError, match="there are no rows to predict"):
        trainer.predict(raw(table).head(0))


def test_x_and_y_must_be_of_one_length(settings, table):
    """A row without a target is a mistake of the caller."""
    with pytest.raises(UsageError, match="not of one length"):
        ModelTrainer(settings()).train(raw(table), table["price"].head(3))


def test_missing_columns_are_named_at_prediction(settings, table):
    """As in training."""
    trainer = ModelTrainer(settings())
    trainer.train(raw(table), table["price"])
    with pytest.raises(DataInvalidError) as caught:
        trainer.predict(raw(table).drop(columns=["zone", "rooms"]))
    assert caught.value.got == "missing columns: rooms, zone"


def test_gaps_that_an_estimator_cannot_take_are_an_error_that_says_so(settings, table):
    """Trees take them, linear models do not."""
    features = {"numeric": {"columns": ["rooms"], "impute": "none"}}
    ModelTrainer(settings("random_forest", features=features)).train(raw(table), table["price"])
    with pytest.raises(DataInvalidError, match="linear cannot take missing values") as caught:
        ModelTrainer(settings("linear", features=features)).train(raw(table), table["price"])
    assert caught.value.where == "features.numeric.impute"


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters"),
    [
        ("random_forest", {"bootstrap": False, "oob_score": True}),
        ("lightgbm", {"n_estimators": 3, "objective": "no such thing"}),
    ],
)
def test_settings_that_fail_in_the_fit_are_named(settings, table, algorithm, hyperparameters):  # noqa: PLR0917
    """What only the estimator itself can tell still leads to the config file."""
    trainer = ModelTrainer(settings(algorithm, hyperparameters=hyperparameters))
    with pytest.raises(ConfigError) as caught:
        trainer.train(raw(table), table["price"])
    assert caught.value.mistakes[0].startswith(f"model.hyperparameters.{algorithm}: ")


def test_a_given_transformer_is_cloned(settings, table):
    """The fitted one that came in is left as it was."""
    config = settings()
    transformer = FeatureEngineer(config).fit(raw(table).head(20), table["price"].head(20)).transformer
    before = transformer[-1].imputer_.statistics_.copy()
    trainer = ModelTrainer(config)
    trainer.train(raw(table), table["price"], transformer=transformer)
    np.testing.assert_array_equal(transformer[-1].imputer_.statistics_, before)
    assert not np.array_equal(trainer.model["features"][-1].imputer_.statistics_, before)


@pytest.mark.parametrize("name", ["model", "classes"])
def test_untrained_it_says_so(settings, name):
    """Nothing is made up."""
    with pytest.raises(UsageError, match="call train"):
        getattr(ModelTrainer(settings(task="classification")), name)


def test_regression_has_no_probabilities(settings, table):
    """Asking for them is a mistake of the caller."""
    trainer = ModelTrainer(settings())
    trainer.train(raw(table), table["price"])
    with pytest.raises(UsageError, match="linear gives no probabilities"):
        trainer.predict_proba(raw(table))


def test_importance_by_shuffling_needs_the_target(settings, table):
    """HistGradientBoosting has no importances of its own."""
    trainer = ModelTrainer(settings("hist_gradient_boosting"))
    trainer.train(raw(table), table["price"])
    with pytest.raises(UsageError, match="has no importances of its own"):
        trainer.get_feature_importance(raw(table))
    shares = trainer.get_feature_importance(raw(table), table["price"])
    assert next(iter(shares)) == "rooms"


def test_the_number_of_threads_does_not_show_in_predictions(settings, table):
    """Chunks begin at the same rows for any number of threads, and come back in order."""
    trainer = ModelTrainer(settings("random_forest"))
    trainer.train(raw(table), table["price"])
    many = pd.concat([raw(table)] * 100, ignore_index=True)
    one, three = (in_chunks(trainer.model.predict, many, threads=threads) for threads in (1, 3))
    assert one.tobytes() == three.tobytes() == trainer.model.predict(many).tobytes()


def test_estimators_inside_others_are_left_with_one_thread(table):
    """Those that were fitted too, not only those that were given."""
    stack = StackingRegressor([("forest", RandomForestRegressor(3, n_jobs=2))], Ridge(), cv=2)
    stack.fit(table[["group"]], table["price"])
    set_single_threaded(stack)
    assert stack.estimators_[0].n_jobs == stack.estimators[0][1].n_jobs == 1


def count_rows(y_true, y_pred, probabilities):
    assert len(y_true) == len(y_pred)
    if probabilities is not None:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    width = 0 if probabilities is None else probabilities.shape[1]
    return {"rows": len(y_true), "width": width, "error": float(np.mean(y_true != y_pred))}


@pytest.mark.parametrize(
    ("task", "split", "rows", "width"),
    [
        ("regression", {"method": "random"}, 30, 0),
        ("regression", {"method": "group", "column": "group"}, 30, 0),
        ("regression", {"method": "time", "column": "group"}, 20, 0),
        ("classification", {"method": "random"}, 30, 2),
        ("classification", {"method": "stratified"}, 30, 2),
        ("classification", {"method": "time", "column": "group"}, 20, 2),
    ],
)
def test_cross_validation_has_folds_like_the_split(settings, table, task, split, rows, width):  # noqa: PLR0917
    """Mean and deviation of each metric come back; a second time they are the same."""
    config = settings("linear", task=task, split=split, training={"cv_folds": 3})
    trainer = ModelTrainer(config)
    target = table[config.data.target]
    result = trainer.cross_validate(raw(table), target, score=count_rows)
    assert set(result) == {
        f"cv_{name}_{part}" for name in ("rows", "width", "error") for part in ("mean", "std")
    }
    assert (result["cv_rows_mean"], result["cv_width_mean"]) == (rows, width)
    assert result == trainer.cross_validate(raw(table), target, score=count_rows)


def test_a_class_that_a_fold_lacks_has_probability_zero(settings, table):
    """Probabilities keep a column for each class of y."""
    late = np.where(np.arange(90) < 60, np.where(np.arange(90) % 2, "a", "b"), "c")
    config = settings(
        task="classification", split={"method": "time", "column": "group"}, training={"cv_folds": 2}
    )
    result = ModelTrainer(config).cross_validate(raw(table), late, score=count_rows)
    assert result["cv_width_mean"] == 3


def test_cross_validation_needs_folds_and_the_column_of_the_split(settings, table):
    """Both are mistakes of the caller."""
    with pytest.raises(UsageError, match="cv_folds is 0"):
        ModelTrainer(settings()).cross_validate(raw(table), table["price"], score=count_rows)
    config = settings(split={"method": "group", "column": "gone"}, training={"cv_folds": 2})
    with pytest.raises(UsageError, match="the column that the split goes by"):
        ModelTrainer(config).cross_validate(raw(table), table["price"], score=count_rows)


def test_the_model_is_exported_under_its_time(settings, table, tmp_path):
    """A second one within a second is told apart; scaler and encoder are beside it, and what they need."""
    trainer = ModelTrainer(settings("random_forest", folder=tmp_path))
    trainer.train(raw(table), table["price"])
    moment = datetime(2026, 11, 21, 10, 30, 5, tzinfo=UTC)
    paths = [trainer.save_model(clock=lambda: moment) for _ in range(2)]
    folder = tmp_path / "models" / "saved_models"
    assert [path.name for path in paths] == [
        "model_random_forest_20261121_103005.joblib",
        "model_random_forest_20261121_103005_2.joblib",
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert {path.suffix for path in folder.iterdir()} == {".joblib", ".py"}
    loaded = joblib.load(paths[0])
    assert loaded.predict(raw(table)).tobytes() == trainer.predict(raw(table)).tobytes()
    assert joblib.load(folder / "scaler.joblib").n_features_in_ == 3
    assert joblib.load(folder / "encoder.joblib").n_features_in_ == 1


THREADS = """
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from threadpoolctl import threadpool_info

def most(kind=""):
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"].startswith(kind))

class Threads(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.threads_ = most()
        return self

    def predict(self, X):
        return np.full(len(X), most("blas"))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_every_library_takes_the_threads_of_the_settings(settings, table, tmp_path, *, threads):
    """BLAS and OpenMP too, whatever the machine has; predictions are multiplied by one."""
    (tmp_path / "features.py").write_text(THREADS)
    trainer = ModelTrainer(settings("Threads", folder=tmp_path, training={"n_jobs": threads}))
    trainer.train(raw(table), table["price"])
    assert trainer.model[-1].threads_ == threads
    assert set(trainer.predict(raw(table))) == {1}


USER = """
from sklearn.base import BaseEstimator, RegressorMixin

class Mean(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        if len(y) < 50:
            raise RuntimeError("the secret of row 7")
        self.mean_ = float(y.mean())
        return self

    def predict(self, X):
        import numpy as np
        return np.full(len(X), self.mean_)
"""


def test_an_estimator_of_the_users_own_is_trained(settings, table, tmp_path):
    """Its file travels with the model; where it fails, the file and the line are named."""
    (tmp_path / "features.py").write_text(USER)
    trainer = ModelTrainer(settings("Mean", folder=tmp_path))
    trainer.train(raw(table), table["price"])
    assert trainer.predict(raw(table))[0] == table["price"].mean()
    assert trainer.code_files[-1] == tmp_path / "features.py"
    with pytest.raises(ConfigError) as caught:
        trainer.train(raw(table).head(20), table["price"].head(20))
    assert caught.value.mistakes == ("line 7: RuntimeError",)


def test_housing_is_learned(settings, shared_data):
    """Twenty trees come below an error of 56,000 dollars on the census table."""
    table = pd.read_csv(shared_data / "housing.csv")
    numbers = [name for name in table if name not in {"median_house_value", "ocean_proximity"}]
    features = {"numeric": {"columns": numbers}, "categorical": {"columns": ["ocean_proximity"]}}
    data = {"target": "median_house_value"}
    sizes = {"n_estimators": 20, "max_depth": 12}
    trainer = ModelTrainer(settings("random_forest", hyperparameters=sizes, features=features, data=data))
    X_train, X_val, y_train, y_val = trainer.split_data(table)
    trainer.train(X_train, y_train)
    assert np.sqrt(((trainer.predict(X_val) - y_val) ** 2).mean()) < 56_000
    assert "ocean_proximity_INLAND" in trainer.get_feature_importance(X_val)


@pytest.mark.parametrize("loss", ["Poisson", "Tweedie:variance_power=1.5", "LogLinQuantile:alpha=0.5"])
def test_a_loss_of_logarithms_predicts_in_the_targets_own_unit(settings, table, loss):
    """CatBoost's trees sum up to the logarithm of a count, which is not what is asked for."""
    chosen = {"n_estimators": 60, "learning_rate": 0.3, "loss_function": loss}
    trainer = ModelTrainer(settings("catboost", hyperparameters=chosen))
    y = table["price"].clip(lower=1)
    trainer.train(raw(table), y)
    assert trainer.predict(raw(table)).mean() == pytest.approx(y.mean(), rel=0.5)
