"""The ModelTrainer: from a table to a fitted model."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from modelbook.config import Config, ConfigLike, load_config
from modelbook.data.split import split_rows
from modelbook.errors import ConfigError, DataInvalidError, ModelbookError, UsageError
from modelbook.features.code import USER_CODE
from modelbook.features.engineer import FeatureEngineer, transform_errors
from modelbook.logs import now
from modelbook.models.auto import is_auto, search, settled
from modelbook.models.cross_validation import Score, cross_validate
from modelbook.models.estimators import code_files, thread_count
from modelbook.models.export import export_joblib
from modelbook.models.fit import estimator_error, fit_pipeline
from modelbook.models.importance import feature_importance
from modelbook.models.predict import in_chunks
from modelbook.models.target import target_array

if TYPE_CHECKING:
    from modelbook.records import Outcome

SAVED_MODELS = Path("models/saved_models")

Array = npt.NDArray[Any]


class ModelTrainer:
    """Fits a model as the settings of `model` and `training` say.

    Args:
        config: The settings.

    Attributes:
        config: The settings.
        settled: The settings that are fitted: those, or what the search came to where they say `auto`.
        outcome: What the search came to; None without one.
        threads: Threads to fit and to predict with.

    Example:
        >>> table = pd.DataFrame({"rooms": [1.0, 2.0, 3.0, 4.0], "price": [10.0, 20.0, 30.0, 40.0]})
        >>> trainer = ModelTrainer(
        ...     {
        ...         "data": {"target": "price"},
        ...         "features": {"numeric": {"columns": ["rooms"]}},
        ...         "model": {"algorithm": "linear", "hyperparameters": {"linear": {"alpha": 1e-9}}},
        ...     }
        ... )
        >>> model = trainer.train(table[["rooms"]], table["price"])
        >>> trainer.predict(pd.DataFrame({"rooms": [5]})).round(3)
        array([50.])
    """

    def __init__(self, config: ConfigLike) -> None:
        self.config: Config = load_config(config)
        self.settled: Config = self.config
        self.outcome: Outcome | None = None
        self.threads: int = thread_count(self.config.training.n_jobs)
        self._model: Pipeline | None = None

    @property
    def model(self) -> Pipeline:
        """The fitted pipeline of `features` and `estimator`.

        Raises:
            UsageError: It is not fitted yet.
        """
        if self._model is None:
            raise UsageError("the model is not fitted", hint="call train(X, y) first")
        return self._model

    @property
    def classes(self) -> tuple[str | int | bool, ...]:
        """The classes in the order of the columns of `predict_proba`; empty for regression."""
        if self.config.project.task == "regression":
            return ()
        return tuple(self.model.classes_.tolist())

    @property
    def code_files(self) -> tuple[Path, ...]:
        """The Python files that define the model's types; they travel with it."""
        files = (*FeatureEngineer(self.config).code_files, *code_files(self.settled))
        return tuple(dict.fromkeys(files))

    def split_data(self, df: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]:
        """Return `X_train, X_val, y_train, y_val`: every row in one part, in the order of the table.

        Args:
            df: The table, with the target, `(n_rows, n_columns)`.

        Raises:
            DataInvalidError: The target or the column to split by is missing.
        """
        target = self.config.data.target
        needed = list(dict.fromkeys(filter(None, (target, self.config.split.column))))
        if missing := [name for name in needed if name not in df.columns]:
            raise DataInvalidError("columns are missing from the table", got=f"no {', '.join(missing)}")
        train, test = split_rows(pl.from_pandas(df[needed]), self.config)
        X, y = df.drop(columns=target), df[target]
        return X.iloc[train], X.iloc[test], y.iloc[train], y.iloc[test]

    def settle(self, X: pd.DataFrame, y: Any) -> Config:
        """Return the settings to fit with, searched for on these rows where they say `auto`; once.

        Args:
            X: Raw columns of training rows, `(n_rows, n_columns)`.
            y: The target, `(n_rows,)`.

        Raises:
            ConfigError: The features cannot be made.
            DataInvalidError: The table or the target cannot be learned from.
        """
        if is_auto(self.settled):
            self.outcome = search(self.config, X, y=self._target(X, y))
            self.settled = settled(self.config, self.outcome)
        return self.settled

    def train(self, X: pd.DataFrame, y: Any, *, transformer: BaseEstimator | None = None) -> Pipeline:
        """Fit the model and return it.

        Args:
            X: Raw columns of training rows, `(n_rows, n_columns)`.
            y: The target, `(n_rows,)`.
            transformer: What makes the features, cloned and fitted anew; None builds it from the settings.

        Raises:
            ConfigError: The settings do not make a model, or the user's own code fails.
            DataInvalidError: The table or the target cannot be learned from.
        """
        target = self._target(X, y)
        self._model = fit_pipeline(self.settle(X, y), X, y=target, transformer=transformer)
        return self._model

    def predict(self, X: pd.DataFrame) -> Array:
        """Return the predictions, `(n_rows,)`: float64, or classes as they were given.

        Raises:
            DataInvalidError: Columns are missing or hold values of another type.
            UsageError: The model is not fitted yet.
        """
        return self._computed(self.model.predict, X)

    def predict_proba(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Return the probabilities, `(n_rows, n_classes)` in the order of `classes`, each in [0, 1].

        Raises:
            DataInvalidError: Columns are missing or hold values of another type.
            UsageError: The model is not fitted yet, or has no probabilities.
        """
        if not hasattr(self.model, "predict_proba"):
            raise UsageError(f"{self.config.model.algorithm} gives no probabilities")
        return self._computed(self.model.predict_proba, X)

    def get_feature_importance(self, X: pd.DataFrame, y: Any = None) -> dict[str, float]:
        """Return the share of each feature in the model's decisions, the largest first; shares sum to 1.

        Args:
            X: Raw columns, `(n_rows, n_columns)`.
            y: The target, `(n_rows,)`; needed where the estimator has no importances of its own.

        Raises:
            DataInvalidError: Columns are missing or hold values of another type.
            UsageError: The model is not fitted yet, or needs y.
        """
        target = None if y is None else target_array(y, self.config.project.task)
        with transform_errors(self.config):
            return feature_importance(self.model, X, y=target, seed=self.config.training.seed)

    def cross_validate(
        self, X: pd.DataFrame, y: Any, *, score: Score, transformer: BaseEstimator | None = None
    ) -> dict[str, float]:
        """Return `cv_<metric>_mean` and `cv_<metric>_std` over `training.cv_folds` folds of training rows.

        Args:
            X: Raw columns of training rows, `(n_rows, n_columns)`.
            y: The target, `(n_rows,)`.
            score: Takes true values, predictions and, for classification, probabilities in the order of the
                sorted classes; returns metrics by name.
            transformer: What makes the features, cloned for each fold; None builds it from the settings.

        Raises:
            ConfigError: The settings do not make a model.
            DataInvalidError: There are too few rows, groups or times for the folds.
            UsageError: `training.cv_folds` is 0, or the column that the split goes by is not in X.
        """
        if not self.config.training.cv_folds:
            raise UsageError("training.cv_folds is 0", hint="set it to the number of folds, such as 5")
        target = self._target(X, y)
        return cross_validate(
            self.settle(X, y), X, y=target, score=score, transformer=transformer, threads=self.threads
        )

    def save_model(self, *, clock: Callable[[], datetime] = now) -> Path:
        """Write the model, its scaler and its encoder to models/saved_models, and return the model's path.

        The name is `model_<algorithm>_<YYYYmmdd_HHMMSS>.joblib`, with `_2` for a second one in a second.

        Args:
            clock: Says what time it is.

        Raises:
            StorageError: The folder cannot be written or the disk is full.
            UsageError: The model is not fitted yet.
        """
        return export_joblib(
            self.model,
            self.config.path(SAVED_MODELS),
            algorithm=self.config.model.algorithm,
            moment=clock(),
            code=self.code_files,
        )

    def _target(self, X: pd.DataFrame, y: Any) -> Array:
        if len(X) != len(y):
            raise UsageError("X and y are not of one length", got=f"{len(X)} and {len(y)} rows")
        return target_array(y, self.config.project.task)

    def _checked(self, computed: Array, *, rows: int) -> Array:
        """Return what an estimator computed if it is one result a row; the user's own may err here."""
        if len(computed) == rows and (computed.ndim == 1 or computed.shape[1:] == (len(self.classes),)):
            return computed
        raise ConfigError(
            f"{self.config.model.algorithm} does not predict one value a row",
            mistakes=(f"for {rows} rows it returned an array of shape {computed.shape}",),
            where=str(self.config.path(USER_CODE)),
            hint="let predict return (n_rows,), and predict_proba (n_rows, n_classes)",
        )

    def _computed(self, method: Callable[[pd.DataFrame], Array], X: pd.DataFrame) -> Array:
        if not len(X):
            raise DataInvalidError("there are no rows to predict")
        try:
            with transform_errors(self.config):
                return self._checked(in_chunks(method, X, threads=self.threads), rows=len(X))
        except ModelbookError:
            raise
        except ValueError as error:
            raise estimator_error(self.config, error) from error
