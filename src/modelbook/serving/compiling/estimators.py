"""A fitted estimator turned into a plan."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from sklearn.utils import get_tags

from modelbook.config import Task
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.plan import (
    BlendPlan,
    EstimatorPlan,
    LinearPlan,
    Link,
    NetworkPlan,
    TargetPlan,
    TreesPlan,
)
from modelbook.serving.compiling.forests import forest_trees, histogram_trees
from modelbook.serving.compiling.nodes import lay_out
from modelbook.serving.compiling.refusal import NotCompilableError, class_of

Compiler = Callable[[Any, Task, ArrayFolder], EstimatorPlan]

_LINKS: Mapping[str, Link] = MappingProxyType(
    {"identity": "identity", "exponential": "exponential", "sigmoid": "sigmoid", "softmax": "softmax"}
)
_LOGARITHMIC_LOSSES = ("poisson", "gamma")
_KNOWN_LOSSES = ("", "RMSE", "MAE", "Quantile", "Logloss", "MultiClass")


def compile_estimator(estimator: Any, task: Task, arrays: ArrayFolder) -> EstimatorPlan:
    """Return how a fitted estimator answers.

    Args:
        estimator: The last step of a model's pipeline.
        task: What it predicts.
        arrays: Gets the arrays.

    Raises:
        NotCompilableError: It is not known here, or has a setting that is not.
    """
    compiler = _COMPILERS.get(class_of(estimator))
    if compiler is None:
        raise NotCompilableError(f"{type(estimator).__name__} answers in a way that is not known here")
    return compiler(estimator, task, arrays)


def _forest(forest: Any, task: Task, arrays: ArrayFolder) -> TreesPlan:
    trees = list(forest_trees(forest))
    sums = trees[0].value.shape[1]
    return TreesPlan(
        **lay_out(trees, arrays)._asdict(),
        base=arrays.write("base", np.zeros(sums)),
        divisor=len(trees),
        is_single=True,
        takes_gaps=bool(get_tags(forest).input_tags.allow_nan),
        link="identity" if task == "regression" else "shares",
    )


def _histogram(boosting: Any, task: Task, arrays: ArrayFolder) -> TreesPlan:
    base = np.asarray(boosting._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001
    link: Link = "exponential" if boosting.loss in _LOGARITHMIC_LOSSES else "identity"
    if task == "classification":
        link = "sigmoid" if len(base) == 1 else "softmax"
    return TreesPlan(
        **lay_out(list(histogram_trees(boosting)), arrays)._asdict(),
        base=arrays.write("base", base),
        link=link,
        is_by_sum=True,
    )


def _lightgbm(model: Any, task: Task, arrays: ArrayFolder) -> TreesPlan:
    from modelbook.serving.compiling.boosters import booster_trees, header, read_lightgbm

    if model.get_params().get("linear_tree"):
        raise NotCompilableError("its leaves hold lines")
    read = read_lightgbm(model.booster_)
    trees = list(booster_trees(read))
    sums = max(tree.column for tree in trees) + 1
    return TreesPlan(
        **lay_out(trees, arrays)._asdict(),
        base=arrays.write("base", np.zeros(sums)),
        divisor=len(trees) // sums if header(read, "average_tree_output")[0] else 1,
        link=_link(header(read, "postprocessor"), task),
        alpha=float(header(read, "sigmoid_alpha")[0]),
    )


def _xgboost(model: Any, task: Task, arrays: ArrayFolder) -> TreesPlan:
    from modelbook.serving.compiling.boosters import booster_trees, header, read_xgboost

    if not np.isnan(model.missing):
        raise NotCompilableError("it takes a number for a gap")
    read = read_xgboost(model.get_booster())
    base = np.asarray(header(read, "base_scores"), dtype=np.float32).reshape(-1)
    return TreesPlan(
        **lay_out(list(booster_trees(read)), arrays)._asdict(),
        base=arrays.write("base", base),
        is_single=True,
        link=_link(header(read, "postprocessor"), task),
        is_normalised=task == "classification",
    )


def _catboost(model: Any, task: Task, arrays: ArrayFolder) -> TreesPlan:
    from modelbook.serving.compiling.oblivious import read_catboost

    loss = model.settings.get("loss_function", "")
    if model.categorical_columns or loss not in _KNOWN_LOSSES:
        raise NotCompilableError("CatBoost counts categories, or learns another loss than usual")
    read = read_catboost(model._model)  # noqa: SLF001 (a file that travels with models, and is ours)
    link: Link = "identity"
    if task == "classification":
        link = "sigmoid" if len(read.base) == 1 else "softmax"
    return TreesPlan(
        **lay_out(read.trees, arrays)._asdict(),
        base=arrays.write("base", read.base),
        is_single=True,
        link=link,
    )


def _link(postprocessor: str, task: Task) -> Link:
    link = _LINKS.get(postprocessor)
    if link is None or (task == "classification") != (link in {"sigmoid", "softmax"}):
        raise NotCompilableError(f"what it makes of its sums is {postprocessor}")
    return link


def _linear(model: Any, task: Task, arrays: ArrayFolder) -> LinearPlan:
    coefficients = np.atleast_2d(model.coef_)
    link: Link = "identity"
    if task == "classification":
        link = "sigmoid" if len(coefficients) == 1 else "softmax"
    return LinearPlan(
        coefficients=arrays.write("coefficients", coefficients),
        intercepts=arrays.write("intercepts", np.atleast_1d(model.intercept_)),
        link=link,
    )


def _network(model: Any, task: Task, arrays: ArrayFolder) -> NetworkPlan:
    link: Link = "identity"
    if task == "classification":
        link = "softmax" if model.out_activation_ == "softmax" else "sigmoid"
    return NetworkPlan(
        weights=tuple(arrays.write("weights", weights.T) for weights in model.coefs_),
        intercepts=tuple(arrays.write("intercepts", each) for each in model.intercepts_),
        activation=model.activation,
        link=link,
        scale=getattr(model, "target_scale_", 1.0),
        mean=getattr(model, "target_mean_", 0.0),
    )


def _blend(model: Any, task: Task, arrays: ArrayFolder) -> BlendPlan:
    return BlendPlan(
        members=tuple(compile_estimator(member, task, arrays) for member in model.fitted_),
        weights=tuple(model.fitted_weights_.tolist()),
    )


def _target(model: Any, task: Task, arrays: ArrayFolder) -> TargetPlan:
    inner, transformer = compile_estimator(model.regressor_, task, arrays), model.transformer_
    if class_of(transformer) == "sklearn.FunctionTransformer" and transformer.inverse_func is np.expm1:
        return TargetPlan(inner=inner, curve="log")
    if class_of(transformer) != "sklearn.QuantileTransformer":
        raise NotCompilableError(f"its target is transformed by {type(transformer).__name__}")
    return TargetPlan(
        inner=inner,
        curve="quantile",
        quantiles=arrays.write("quantiles", transformer.quantiles_[:, 0]),
        references=arrays.write("references", transformer.references_),
    )


_COMPILERS: Mapping[str, Compiler] = MappingProxyType(
    {
        "sklearn.RandomForestRegressor": _forest,
        "sklearn.RandomForestClassifier": _forest,
        "sklearn.ExtraTreesRegressor": _forest,
        "sklearn.ExtraTreesClassifier": _forest,
        "histogram_trees.HistogramRegressor": _histogram,
        "histogram_trees.HistogramClassifier": _histogram,
        "lightgbm_trees.LightGBMRegressor": _lightgbm,
        "lightgbm_trees.LightGBMClassifier": _lightgbm,
        "xgboost_trees.XGBoostRegressor": _xgboost,
        "xgboost_trees.XGBoostClassifier": _xgboost,
        "catboost_trees.CatBoostRegressor": _catboost,
        "catboost_trees.CatBoostClassifier": _catboost,
        "network.NetworkRegressor": _network,
        "network.NetworkClassifier": _network,
        "linear.RowwiseRidge": _linear,
        "linear.RowwiseLogisticRegression": _linear,
        "blend.BlendRegressor": _blend,
        "blend.BlendClassifier": _blend,
        "sklearn.TransformedTargetRegressor": _target,
    }
)
