"""The catalogue of estimators. A further one is one more entry; nothing else has to be touched."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from modelbook.config import Config, Task
from modelbook.errors import ConfigError
from modelbook.features.code import USER_CODE, class_names, load_code, user_code_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One estimator that `model.algorithm` can name.

    Attributes:
        name: What `model.algorithm` says.
        classes: The class for each task.
        source: The module that has the classes; a path where it is a file that travels with the model.
        defaults: Hyperparameters that differ from the class's own defaults.
        further: Names that the class takes beyond those of its `get_params`.
        trusted: Types that a stored model of it holds and that skops does not trust by itself. Each was
            looked at: none of them can be told by a file to call something else.
        distributions: Packages it needs beside scikit-learn.
    """

    name: str
    classes: Mapping[Task, str]
    source: str | Path
    defaults: Mapping[Task, Mapping[str, Any]] = field(default_factory=dict)
    further: frozenset[str] = frozenset()
    trusted: frozenset[str] = frozenset()
    distributions: tuple[str, ...] = ()

    @property
    def code_files(self) -> tuple[Path, ...]:
        """The Python files of ours that define its types."""
        return (self.source,) if isinstance(self.source, Path) else ()

    def estimator_class(self, task: Task) -> type:
        """Return its class for a task, importing what that takes."""
        module = load_code(self.source) if isinstance(self.source, Path) else import_module(self.source)
        found: type = getattr(module, self.classes[task])
        return found


# What the features' steps of every stored model may hold.
_COMMON_TRUSTED = frozenset({"numpy.dtype", "sklearn.model_selection._split.KFold"})
_PARAMETER = re.compile(r"The '(\w+)' parameter")

_TREES = {"n_estimators": 300}
_BOOSTED = {"n_estimators": 300, "learning_rate": 0.05}
# Sums in a fixed order whatever the number of threads, and nothing printed while it fits.
_LIGHTGBM_FIXED = {"deterministic": True, "force_row_wise": True, "verbosity": -1}

_ENTRIES = (
    CatalogueEntry(
        name="random_forest",
        source="sklearn.ensemble",
        classes={"regression": "RandomForestRegressor", "classification": "RandomForestClassifier"},
        defaults={"regression": _TREES, "classification": _TREES},
        trusted=frozenset({"sklearn.tree._tree.Tree"}),
    ),
    CatalogueEntry(
        name="extra_trees",
        source="sklearn.ensemble",
        classes={"regression": "ExtraTreesRegressor", "classification": "ExtraTreesClassifier"},
        defaults={"regression": _TREES, "classification": _TREES},
        trusted=frozenset({"sklearn.tree._tree.Tree"}),
    ),
    CatalogueEntry(
        name="hist_gradient_boosting",
        source="sklearn.ensemble",
        classes={
            "regression": "HistGradientBoostingRegressor",
            "classification": "HistGradientBoostingClassifier",
        },
        trusted=frozenset({"sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"}),
    ),
    CatalogueEntry(
        name="lightgbm",
        source="lightgbm",
        classes={"regression": "LGBMRegressor", "classification": "LGBMClassifier"},
        defaults={"regression": _BOOSTED | _LIGHTGBM_FIXED, "classification": _BOOSTED | _LIGHTGBM_FIXED},
        further=frozenset(
            {
                "cat_l2",
                "cat_smooth",
                "extra_trees",
                "feature_fraction_bynode",
                "lambda_l1",
                "lambda_l2",
                "linear_tree",
                "max_bin",
                "max_delta_step",
                "min_data_in_leaf",
                "monotone_constraints",
                "path_smooth",
                "deterministic",
                "force_col_wise",
                "force_row_wise",
                "verbosity",
            }
        ),
        trusted=frozenset(
            {
                "collections.OrderedDict",
                "lightgbm.basic.Booster",
                "lightgbm.sklearn.LGBMClassifier",
                "lightgbm.sklearn.LGBMRegressor",
            }
        ),
        distributions=("lightgbm",),
    ),
    CatalogueEntry(
        name="linear",
        source=Path(__file__).with_name("linear.py"),
        classes={"regression": "RowwiseRidge", "classification": "RowwiseLogisticRegression"},
        defaults={"classification": {"max_iter": 1000, "n_jobs": None}},  # scikit-learn warns of any other
    ),
)
CATALOGUE: Mapping[str, CatalogueEntry] = {entry.name: entry for entry in _ENTRIES}

TRUSTED_TYPES: frozenset[str] = _COMMON_TRUSTED.union(*(entry.trusted for entry in _ENTRIES))


def distributions(algorithm: str) -> tuple[str, ...]:
    """Return the packages that an algorithm needs beside scikit-learn.

    Example:
        >>> distributions("lightgbm"), distributions("random_forest")
        (('lightgbm',), ())
    """
    return CATALOGUE[algorithm].distributions if algorithm in CATALOGUE else ()


def code_files(config: Config) -> tuple[Path, ...]:
    """Return the Python files that define the chosen estimator's types; they travel with the model."""
    entry = CATALOGUE.get(config.model.algorithm)
    return entry.code_files if entry else (config.path(USER_CODE),)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(n_jobs: int) -> int:
    """Return the number of threads that a setting means: every usable core for -1.

    Example:
        >>> thread_count(3)
        3
    """
    return usable_cores() if n_jobs == -1 else n_jobs


def build_estimator(config: Config, n_jobs: int | None = None) -> Any:
    """Return the chosen estimator, unfitted, with its hyperparameters, seed and threads set.

    `random_state` and `n_jobs` come from `training`, unless the hyperparameters name them.

    Args:
        config: The settings.
        n_jobs: Threads to fit with; None takes `training.n_jobs`.

    Raises:
        ConfigError: There is no such algorithm, or a hyperparameter is unknown or not accepted.

    Example:
        >>> from modelbook.config import load_config
        >>> build_estimator(load_config({"model": {"algorithm": "linear"}}))
        RowwiseRidge(random_state=42)
    """
    entry = CATALOGUE.get(config.model.algorithm)
    cls = entry.estimator_class(config.project.task) if entry else _user_class(config)
    known = frozenset(_parameters(cls))
    _check_names(config, known | (entry.further if entry else frozenset()))
    threads = thread_count(config.training.n_jobs if n_jobs is None else n_jobs)
    injected = {"random_state": config.training.seed, "n_jobs": threads}
    settings = {name: value for name, value in injected.items() if name in known}
    settings |= entry.defaults.get(config.project.task, {}) if entry else {}
    estimator = _construct(cls, settings | config.model.chosen, config)
    _check_values(estimator, config)
    return estimator


def check_algorithm(config: Config) -> None:
    """Return quietly where `model.algorithm` names an estimator; what it takes is looked at when it is built.

    Raises:
        ConfigError: There is no such algorithm.
    """
    if config.model.algorithm not in CATALOGUE:
        _user_class(config)


def hyperparameter_error(config: Config, error: Exception) -> ConfigError:
    """Return what an estimator said about its hyperparameters as an error with the config path."""
    named = _PARAMETER.match(str(error))
    path = _path(config, named[1] if named else None)
    return ConfigError(
        f"{config.model.algorithm} does not accept its hyperparameters",
        mistakes=(f"{path}: {error}",),
        hint="change the value in config.yaml",
    )


def _user_class(config: Config) -> type:
    from sklearn.base import BaseEstimator

    name = config.model.algorithm
    path = config.path(USER_CODE)
    module = load_code(path) if path.is_file() else None
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise _unknown_algorithm(name, class_names(module) if module else ())
    if not (issubclass(found, BaseEstimator) and hasattr(found, "predict")):
        raise ConfigError(
            f"{name} is not an estimator",
            mistakes=(f"model.algorithm: {name} needs fit and predict",),
            where=str(path),
            hint="derive it from sklearn.base.BaseEstimator and RegressorMixin or ClassifierMixin",
        )
    return found


def _unknown_algorithm(name: str, classes: tuple[str, ...]) -> ConfigError:
    known = [*CATALOGUE, *classes]
    near = get_close_matches(name, known, n=1)
    return ConfigError(
        f"there is no algorithm {name}",
        mistakes=(f"model.algorithm: {name} is none of {', '.join(known)}",),
        hint=f"did you mean {near[0]}?" if near else f"write a class {name} in {USER_CODE}, or name another",
    )


def _parameters(cls: Any) -> tuple[str, ...]:
    try:
        return tuple(cls().get_params(deep=False))
    except TypeError:  # a class whose arguments have no defaults
        return tuple(cls._get_param_names())  # scikit-learn has no other way to ask a class


def _check_names(config: Config, known: frozenset[str]) -> None:
    mistakes = tuple(
        f"{_path(config, name)}: unknown; {_nearest(name, known)}"
        for name in config.model.chosen
        if name not in known
    )
    if mistakes:
        raise ConfigError(
            f"{config.model.algorithm} is given a hyperparameter that it does not have",
            mistakes=mistakes,
            hint="mend the name in config.yaml",
        )


def _nearest(name: str, known: frozenset[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(known))}"


def _construct(cls: type, settings: Mapping[str, Any], config: Config) -> Any:
    try:
        with user_code_errors(config.path(USER_CODE), "failed to make the estimator"):
            return cls(**settings)
    except TypeError as error:
        raise hyperparameter_error(config, error) from error


def _check_values(estimator: Any, config: Config) -> None:
    if not hasattr(estimator, "_parameter_constraints"):
        return
    try:
        estimator._validate_params()  # noqa: SLF001 (what scikit-learn's fit calls; here it is not too late)
    except ValueError as error:
        raise hyperparameter_error(config, error) from error


def _path(config: Config, name: str | None) -> str:
    path = f"model.hyperparameters.{config.model.algorithm}"
    return f"{path}.{name}" if name else path
