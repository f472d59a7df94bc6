"""The catalogue of estimators. A further one is one more entry; nothing else has to be touched."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelbook.config import Config, Task
from modelbook.errors import ConfigError
from modelbook.features.code import USER_CODE, class_names, load_code


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
        distributions: Packages it needs beside scikit-learn; of several with one module, one is installed.
        module: What it imports, where that does not come with Modelbook but with the extra of its name.
        takes_categories: Whether it takes columns of codes as categories.
    """

    name: str
    classes: Mapping[Task, str]
    source: str | Path
    defaults: Mapping[Task, Mapping[str, Any]] = field(default_factory=dict)
    further: frozenset[str] = frozenset()
    trusted: frozenset[str] = frozenset()
    distributions: tuple[str, ...] = ()
    module: str | None = None
    takes_categories: bool = False

    @property
    def code_files(self) -> tuple[Path, ...]:
        """The Python files of ours that define its types."""
        return (self.source,) if isinstance(self.source, Path) else ()

    @property
    def is_installed(self) -> bool:
        """Whether what it imports is there."""
        return self.module is None or find_spec(self.module) is not None

    def estimator_class(self, task: Task) -> type:
        """Return its class for a task, importing what that takes."""
        module = load_code(self.source) if isinstance(self.source, Path) else import_module(self.source)
        found: type = getattr(module, self.classes[task])
        return found


BLEND = "blend"
AUTO = "auto"

_SHIPPED = Path(__file__).with_name("shipped")
# What the features' steps of every stored model may hold, and the target's transformer around an estimator.
_COMMON_TRUSTED = frozenset({"numpy.dtype", "sklearn.model_selection._split.KFold"})

_TREES = {"n_estimators": 300}
# Many small steps, each on a part of rows and columns: on 16,500 rows of housing prices 5 % less RMSE than
# 300 steps of 0.05 on all of them, in 2.4 s of one core.
_LIGHTGBM = {
    "n_estimators": 1000,
    "learning_rate": 0.03,
    "num_leaves": 63,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.8,
}
_XGBOOST = {
    "n_estimators": 1000,
    "learning_rate": 0.03,
    "max_depth": 7,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
}
_CATBOOST = {"n_estimators": 1000, "learning_rate": 0.06, "depth": 8}
# Sums in a fixed order whatever the number of threads, and nothing printed while it fits.
_LIGHTGBM_FIXED = {"deterministic": True, "force_row_wise": True, "verbosity": -1}


def _both(settings: Mapping[str, Any]) -> dict[Task, Mapping[str, Any]]:
    return {"regression": settings, "classification": settings}


_ENTRIES = (
    CatalogueEntry(
        name="random_forest",
        source="sklearn.ensemble",
        classes={"regression": "RandomForestRegressor", "classification": "RandomForestClassifier"},
        defaults=_both(_TREES),
        trusted=frozenset({"sklearn.tree._tree.Tree"}),
    ),
    CatalogueEntry(
        name="extra_trees",
        source="sklearn.ensemble",
        classes={"regression": "ExtraTreesRegressor", "classification": "ExtraTreesClassifier"},
        defaults=_both(_TREES),
        trusted=frozenset({"sklearn.tree._tree.Tree"}),
    ),
    CatalogueEntry(
        name="hist_gradient_boosting",
        source=_SHIPPED / "histogram_trees.py",
        classes={"regression": "HistogramRegressor", "classification": "HistogramClassifier"},
        trusted=frozenset({"sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"}),
        takes_categories=True,
    ),
    CatalogueEntry(
        name="lightgbm",
        source=_SHIPPED / "lightgbm_trees.py",
        classes={"regression": "LightGBMRegressor", "classification": "LightGBMClassifier"},
        defaults=_both(_LIGHTGBM | _LIGHTGBM_FIXED),
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
        takes_categories=True,
    ),
    CatalogueEntry(
        name="xgboost",
        source=_SHIPPED / "xgboost_trees.py",
        classes={"regression": "XGBoostRegressor", "classification": "XGBoostClassifier"},
        defaults=_both(_XGBOOST),
        further=frozenset({"max_cached_hist_node", "num_parallel_tree", "sketch_ratio", "refresh_leaf"}),
        distributions=("xgboost-cpu", "xgboost"),
        module="xgboost",
        takes_categories=True,
    ),
    CatalogueEntry(
        name="catboost",
        source=_SHIPPED / "catboost_trees.py",
        classes={"regression": "CatBoostRegressor", "classification": "CatBoostClassifier"},
        defaults=_both(_CATBOOST),
        further=frozenset(
            {
                "auto_class_weights",
                "bagging_temperature",
                "boost_from_average",
                "boosting_type",
                "bootstrap_type",
                "border_count",
                "class_weights",
                "combinations_ctr",
                "diffusion_temperature",
                "eval_metric",
                "feature_border_type",
                "feature_weights",
                "grow_policy",
                "has_time",
                "l2_leaf_reg",
                "langevin",
                "leaf_estimation_iterations",
                "leaf_estimation_method",
                "loss_function",
                "max_ctr_complexity",
                "max_leaves",
                "min_data_in_leaf",
                "model_shrink_rate",
                "model_size_reg",
                "monotone_constraints",
                "mvs_reg",
                "nan_mode",
                "one_hot_max_size",
                "posterior_sampling",
                "random_strength",
                "rsm",
                "sampling_frequency",
                "scale_pos_weight",
                "score_function",
                "simple_ctr",
                "subsample",
            }
        ),
        distributions=("catboost",),
        module="catboost",
        takes_categories=True,
    ),
    CatalogueEntry(
        name="mlp",
        source=_SHIPPED / "network.py",
        classes={"regression": "NetworkRegressor", "classification": "NetworkClassifier"},
        defaults=_both({"hidden_layer_sizes": (128, 64)}),
    ),
    CatalogueEntry(
        name="linear",
        source=_SHIPPED / "linear.py",
        classes={"regression": "RowwiseRidge", "classification": "RowwiseLogisticRegression"},
        defaults={"classification": {"max_iter": 1000, "n_jobs": None}},  # scikit-learn warns of any other
    ),
    CatalogueEntry(
        name=BLEND,
        source=_SHIPPED / "blend.py",
        classes={"regression": "BlendRegressor", "classification": "BlendClassifier"},
    ),
)
CATALOGUE: Mapping[str, CatalogueEntry] = {entry.name: entry for entry in _ENTRIES}

TRUSTED_TYPES: frozenset[str] = _COMMON_TRUSTED.union(*(entry.trusted for entry in _ENTRIES))


def algorithms(config: Config) -> tuple[str, ...]:
    """Return the names of the estimators that the settings make a model of: several for a blend.

    Those that `auto` may choose are all that are installed.

    Example:
        >>> from modelbook.config import load_config
        >>> members = {"members": ["linear", {"lightgbm": {"num_leaves": 7}}]}
        >>> algorithms(load_config({"model": {"algorithm": "blend", "hyperparameters": {"blend": members}}}))
        ('blend', 'linear', 'lightgbm')
    """
    if config.model.algorithm == AUTO:
        return tuple(name for name, entry in CATALOGUE.items() if entry.is_installed)
    if config.model.algorithm != BLEND:
        return (config.model.algorithm,)
    members = config.model.chosen.get("members")
    listed = members if isinstance(members, list) else []
    names = [next(iter(member), "") if isinstance(member, dict) else str(member) for member in listed]
    return tuple(dict.fromkeys([BLEND, *names]))


def distributions(config: Config) -> tuple[str, ...]:
    """Return the packages that the chosen algorithm needs beside scikit-learn.

    Example:
        >>> from modelbook.config import load_config
        >>> distributions(load_config({"model": {"algorithm": "lightgbm"}}))
        ('lightgbm',)
    """
    entries = [CATALOGUE[name] for name in algorithms(config) if name in CATALOGUE]
    return tuple(package for entry in entries for package in entry.distributions)


def code_files(config: Config) -> tuple[Path, ...]:
    """Return the Python files that define the chosen estimator's types; they travel with the model."""
    user_code = (config.path(USER_CODE),)
    found = (CATALOGUE[name].code_files if name in CATALOGUE else user_code for name in algorithms(config))
    return tuple(dict.fromkeys(file for files in found for file in files))


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


def check_algorithm(config: Config) -> None:
    """Return quietly where `model.algorithm` names an estimator that can be had and takes the features.

    What its hyperparameters are worth is looked at when it is built.

    Raises:
        ConfigError: There is no such algorithm, its package is not installed, or it takes no categories
            where `features.categorical.encode` is `native`.
    """
    for name in algorithms(config):
        if name in CATALOGUE:
            _check_installed(CATALOGUE[name])
        else:
            user_class(config, name)
    if config.features.categorical.encode == "native":
        _check_categories(config)


def user_class(config: Config, name: str) -> type:
    """Return an estimator class of the project's features.py.

    Raises:
        ConfigError: There is none of that name, or it is no estimator.
    """
    from sklearn.base import BaseEstimator

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


def _check_installed(entry: CatalogueEntry) -> None:
    if not entry.is_installed:
        raise ConfigError(
            f"{entry.name} is not installed",
            mistakes=(f"model.algorithm: {entry.name} needs the package {entry.distributions[0]}",),
            hint=f"pip install 'modelbook[{entry.name}]'",
        )


def _check_categories(config: Config) -> None:
    takers = [entry.name for entry in _ENTRIES if entry.takes_categories]
    others = [name for name in algorithms(config) if name not in {*takers, BLEND}]
    if others and config.model.algorithm != AUTO and config.features.categorical.columns:
        raise ConfigError(
            f"{others[0]} takes no categories as they are",
            mistakes=(f"features.categorical.encode: native is for {', '.join(takers)} and blends of them",),
            hint="set features.categorical.encode: auto",
        )


def _unknown_algorithm(name: str, classes: tuple[str, ...]) -> ConfigError:
    known = [*CATALOGUE, AUTO, *classes]
    near = get_close_matches(name, known, n=1)
    return ConfigError(
        f"there is no algorithm {name}",
        mistakes=(f"model.algorithm: {name} is none of {', '.join(known)}",),
        hint=f"did you mean {near[0]}?" if near else f"write a class {name} in {USER_CODE}, or name another",
    )
