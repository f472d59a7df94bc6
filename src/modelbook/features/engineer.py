"""The FeatureEngineer: from the settings of `features` to a transformer that is part of the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler

from modelbook.config import ColumnType, Config, ConfigLike, GeographyFeatures, load_config
from modelbook.errors import ConfigError, DataInvalidError, UsageError
from modelbook.features.code import USER_CODE, load_class, load_code, user_code_errors
from modelbook.records import InputColumn

_TABLE_CODE = Path(__file__).with_name("transformers.py")
_DERIVED_CODE = Path(__file__).with_name("derived.py")
_PLACE_CODE = Path(__file__).with_name("neighbours.py")
_MATRIX_CODE = Path(__file__).with_name("matrix.py")
_SCALERS = {"standard": StandardScaler, "robust": RobustScaler, "minmax": MinMaxScaler}


class FeatureEngineer:
    """Makes features from raw columns, as the settings of `features` say.

    Args:
        config: The settings.

    Example:
        >>> engineer = FeatureEngineer(
        ...     {"features": {"numeric": {"columns": ["rooms"]}, "categorical": {"columns": ["zone"]}}}
        ... )
        >>> table = pd.DataFrame({"rooms": [1, 2, None], "zone": ["a", "b", "a"]})
        >>> engineer.fit_transform(table)
              rooms  zone_a  zone_b
        0 -1.224745     1.0     0.0
        1  1.224745     0.0     1.0
        2  0.000000     1.0     0.0
    """

    def __init__(self, config: ConfigLike) -> None:
        self.config: Config = load_config(config)
        self._transformer: Pipeline | None = None

    @property
    def inputs(self) -> tuple[InputColumn, ...]:
        """The raw columns that the model takes.

        They are the columns with a role; with a transformer of the user's own also every other column of
        `data.schema` but the target and what is left out.
        """
        if self.config.features.custom and self.config.data.columns:
            left_out = {self.config.data.target, *self.config.features.left_out}
            names = tuple(name for name in self.config.data.columns if name not in left_out)
        else:
            names = self.config.features.columns
        return tuple(self._input(name) for name in names)

    @property
    def code_files(self) -> tuple[Path, ...]:
        """The Python files that define the transformer's types; they travel with the model."""
        features = self.config.features
        own = [_TABLE_CODE, _DERIVED_CODE, _MATRIX_CODE]
        if features.geography:
            own.append(_PLACE_CODE)
        return (*own, self.config.path(USER_CODE)) if features.custom else tuple(own)

    @property
    def transformer(self) -> Pipeline:
        """The fitted transformer, from raw columns to a matrix.

        Raises:
            UsageError: It is not fitted yet.
        """
        if self._transformer is None:
            raise UsageError("the FeatureEngineer is not fitted", hint="call fit(X, y) first")
        return self._transformer

    @property
    def scaler(self) -> Any:
        """The fitted scaler of number columns; it changes nothing where the settings have none."""
        return fitted_scaler(self.transformer)

    @property
    def encoder(self) -> Any:
        """The fitted encoder of text columns; it changes nothing where there are none."""
        return fitted_encoder(self.transformer)

    def build(self) -> Pipeline:
        """Return an unfitted transformer that takes raw columns and returns a matrix of float64.

        Raises:
            ConfigError: There is no feature, or the user's own transformer cannot be had.
        """
        if not self.config.features.columns and not self.config.features.custom:
            raise ConfigError(
                "there are no features",
                mistakes=("features: no column has a role",),
                hint="list columns under features.numeric, categorical, boolean or datetime",
            )
        return Pipeline([*self._table_steps(), *self._feature_steps(), ("matrix", self._matrix_step())])

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Learn what the features need from training rows.

        Args:
            X: Raw columns, `(n_rows, n_columns)`.
            y: The target, `(n_rows,)`; needed where a column is target-encoded or neighbours are asked.

        Raises:
            ConfigError: There is no feature, or the user's own transformer fails.
            DataInvalidError: Columns are missing or hold values of another type.
            UsageError: Target encoding or a mean among neighbours has no target.
        """
        self.fit_transform(X, y)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the features, `(n_rows, n_features)` of float64, with the index of X.

        Raises:
            ConfigError: The user's own transformer fails.
            DataInvalidError: Columns are missing or hold values of another type.
            UsageError: It is not fitted yet.
        """
        with transform_errors(self.config):
            matrix = self.transformer.transform(X)
        return pd.DataFrame(matrix, index=X.index, columns=self.get_feature_names_out())

    def fit_transform(self, X: pd.DataFrame, y: Any = None) -> pd.DataFrame:
        """Fit, and return the features of training rows; what is made of the target is cross-fitted.

        Raises:
            ConfigError: There is no feature, or the user's own transformer fails.
            DataInvalidError: Columns are missing or hold values of another type.
            UsageError: Target encoding or a mean among neighbours has no target.
        """
        transformer = self.build()
        with transform_errors(self.config):
            matrix = transformer.fit_transform(X, y)
        self._transformer = transformer
        return pd.DataFrame(matrix, index=X.index, columns=self.get_feature_names_out())

    def get_feature_names_out(self) -> list[str]:
        """Return the features' names in the order of the matrix.

        Raises:
            UsageError: It is not fitted yet.
        """
        return feature_names(self.transformer)

    def _input(self, name: str) -> InputColumn:
        if name in self.config.data.columns:
            schema = self.config.data.columns[name]
            return InputColumn(name=name, type=schema.type, nullable=schema.nullable)
        return InputColumn(name=name, type=self._type_by_role(name), nullable=True)

    def _type_by_role(self, name: str) -> ColumnType:
        features = self.config.features
        if name in features.numeric.columns:
            return "float"
        if name in features.boolean.columns:
            return "boolean"
        return "datetime" if name in features.datetime.columns else "string"

    def _table_steps(self) -> Iterator[tuple[str, BaseEstimator]]:
        features = self.config.features
        selection = load_code(_TABLE_CODE).TableColumns(
            numeric=features.numeric.columns,
            boolean=features.boolean.columns,
            categorical=features.categorical.columns,
            datetime=features.datetime.columns,
        )
        if features.custom is None:
            yield "table", selection
            return
        if self.config.data.columns:
            yield "table", self._raw_table()
        custom = load_code(_TABLE_CODE).CustomColumns(self._user_transformer(features.custom), selection)
        yield "custom", custom

    def _raw_table(self) -> BaseEstimator:
        types: dict[ColumnType, list[str]] = {}
        for column in self.inputs:
            types.setdefault(column.type, []).append(column.name)
        return load_code(_TABLE_CODE).TableColumns(
            numeric=(*types.get("float", ()), *types.get("integer", ())),
            boolean=tuple(types.get("boolean", ())),
            categorical=tuple(types.get("string", ())),
            datetime=tuple(types.get("datetime", ())),
        )

    def _user_transformer(self, name: str) -> BaseEstimator:
        path = self.config.path(USER_CODE)
        found = load_class(path, name, setting="features.custom")
        if not (issubclass(found, BaseEstimator) and hasattr(found, "transform")):
            raise ConfigError(
                f"{name} is not a transformer",
                mistakes=(f"features.custom: {name} needs fit and transform",),
                where=str(path),
                hint="derive it from sklearn.base.TransformerMixin and sklearn.base.BaseEstimator",
            )
        try:
            return found()
        except TypeError as error:
            raise ConfigError(
                f"{name} cannot be made without arguments",
                mistakes=(f"features.custom: {error}",),
                where=str(path),
                hint="give each argument of its __init__ a default",
            ) from error

    def _feature_steps(self) -> Iterator[tuple[str, BaseEstimator]]:
        features = self.config.features
        code = load_code(_DERIVED_CODE)
        if features.counts:
            yield "counts", code.Counts(features.counts)
        if features.datetime.columns:
            yield "dates", code.DatetimeParts(features.datetime.columns, features.datetime.parts)
        if features.ratios:
            pairs = tuple((ratio.numerator, ratio.denominator) for ratio in features.ratios)
            yield "ratios", code.Ratios(pairs)
        if features.interactions:
            yield "interactions", code.Interactions(tuple(each.term for each in features.interactions))
        if features.curves.log or features.curves.square_root:
            yield "curves", code.Curves(**features.curves.model_dump())
        if features.geography:
            yield "geography", self._geography_step(features.geography)

    def _geography_step(self, geography: GeographyFeatures) -> BaseEstimator:
        step: BaseEstimator = load_code(_PLACE_CODE).Geography(
            **geography.model_dump(),
            task=self.config.project.task,
            seed=self.config.training.seed,
            n_jobs=self.config.training.n_jobs,
        )
        return step

    def _matrix_step(self) -> BaseEstimator:
        features = self.config.features
        code = load_code(_MATRIX_CODE)
        is_filled = features.numeric.impute != "none"
        scaler = _SCALERS.get(features.numeric.scale)
        return code.FeatureMatrix(
            boolean=features.boolean.columns,
            categorical=features.categorical.columns,
            imputer=_imputer(features.numeric.impute) if is_filled else None,
            boolean_imputer=_imputer("most_frequent") if is_filled else None,
            scaler=scaler() if scaler else None,
            encoder=code.CategoryEncoder(
                encode=features.categorical.encode,
                max_one_hot=features.categorical.max_one_hot,
                task=self.config.project.task,
                seed=self.config.training.seed,
            ),
        )


def feature_names(transformer: Pipeline) -> list[str]:
    """Return the names of the features that a fitted transformer makes."""
    return [str(name) for name in transformer[-1].get_feature_names_out()]


def fitted_scaler(transformer: Pipeline) -> Any:
    """Return the scaler of a fitted transformer; one that changes nothing where it has none."""
    return transformer[-1].scaler_ or FunctionTransformer()


def fitted_encoder(transformer: Pipeline) -> Any:
    """Return the encoder of a fitted transformer; one that changes nothing where it has none.

    Where one kind of encoding serves all columns it is scikit-learn's own encoder.
    """
    encoder = transformer[-1].encoder_
    if encoder is None:
        return FunctionTransformer()
    return next(iter(encoder.encoders_.values())) if len(encoder.encoders_) == 1 else encoder


@contextmanager
def transform_errors(config: Config) -> Iterator[None]:
    """Turn what the transformers say about a table, and failures of the user's own, into our errors.

    Raises:
        ConfigError: The user's own transformer failed; its file and line are named.
        DataInvalidError: Columns are missing or hold values of another type.
        UsageError: Target encoding or a mean among neighbours has no target.
    """
    try:
        with user_code_errors(config.path(USER_CODE), "failed on the table", on_rows=True):
            yield
    except load_code(_TABLE_CODE).TableError as error:
        raise DataInvalidError("the table cannot be turned into features", got=str(error)) from error
    except load_code(_MATRIX_CODE).TargetNeededError as error:
        raise UsageError("target encoding needs the target", hint="call fit(X, y)") from error
    except load_code(_PLACE_CODE).NeighbourTargetError as error:
        raise UsageError(
            "the target's mean among neighbours needs the target", hint="call fit(X, y)"
        ) from error


def _imputer(strategy: str) -> SimpleImputer:
    if strategy == "zero":
        return SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)
    return SimpleImputer(strategy=strategy, keep_empty_features=True)
