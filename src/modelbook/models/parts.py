"""The estimators inside an estimator: the members of a blend, and what learns a transformed target."""

from typing import Any

from sklearn.compose import TransformedTargetRegressor

_WITHOUT_EFFECT = {"categorical_columns", "feature_types", "n_jobs", "verbose", "verbosity", "warm_start"}


def members(estimator: Any) -> dict[str, Any]:
    """Return the unfitted members of a blend by name; nothing where it is none."""
    return dict(getattr(estimator, "members", ()))


def inner(estimator: Any) -> Any:
    """Return what learns, unfitted: the estimator itself, or that inside one for a transformed target."""
    return estimator.regressor if isinstance(estimator, TransformedTargetRegressor) else estimator


def learners(estimator: Any) -> tuple[Any, ...]:
    """Return everything that learns, unfitted: each member of a blend, or the estimator itself."""
    return tuple(inner(part) for part in members(estimator).values() or (estimator,))


def tell_categories(estimator: Any, columns: list[int]) -> None:
    """Tell everything that learns which columns of the matrix are codes of categories."""
    for learner in learners(estimator):
        if hasattr(learner, "set_categories"):
            learner.set_categories(columns)


def outcome(estimator: Any) -> tuple[str, ...]:
    """Return what was settled before the fit, in words: weights, and iterations of what learns step by step.

    Example:
        >>> from modelbook.config import load_config
        >>> from modelbook.models.build import build_estimator
        >>> chosen = {"algorithm": "lightgbm", "hyperparameters": {"lightgbm": {"n_estimators": 7}}}
        >>> outcome(build_estimator(load_config({"model": chosen})))
        ('7 iterations',)
    """
    parts = members(estimator)
    if not parts:
        return _said_iterations(estimator)
    return tuple(
        ", ".join([f"{name}: weight {weight}", *_said_iterations(part)])
        for (name, part), weight in zip(parts.items(), estimator.weights, strict=True)
    )


def _said_iterations(estimator: Any) -> tuple[str, ...]:
    is_stepwise = hasattr(inner(estimator), "best_iterations")
    return (f"{iterations(estimator)} iterations",) if is_stepwise else ()


def iterations(estimator: Any) -> int | None:
    """Return how many trees or passes an estimator is set to take; None where it does not learn by those."""
    learner = inner(estimator)
    names = ("n_estimators", "max_iter") if hasattr(learner, "best_iterations") else ("n_estimators",)
    settings = learner.get_params(deep=False)
    return next((int(settings[name]) for name in names if settings.get(name) is not None), None)


def hyperparameters(estimator: Any) -> dict[str, Any]:
    """Return an estimator's settings, defaults included, but for those that bear on no result.

    Those of a blend's members are `<member>.<name>`.
    """
    parts = members(estimator)
    if not parts:
        return _of_bearing(inner(estimator))
    own: dict[str, Any] = {"members": list(parts), "weights": list(estimator.weights)}
    for name, part in parts.items():
        own |= {f"{name}.{key}": value for key, value in _of_bearing(inner(part)).items()}
    return own


def _of_bearing(learner: Any) -> dict[str, Any]:
    settings = learner.get_params(deep=False)
    return {name: value for name, value in settings.items() if name not in _WITHOUT_EFFECT}
