"""From the settings of `model` and `training` to an estimator that can be fitted."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from modelbook.config import Config, Section
from modelbook.errors import ConfigError
from modelbook.features.code import USER_CODE, user_code_errors
from modelbook.models.estimators import AUTO, BLEND, CATALOGUE, check_algorithm, thread_count, user_class
from modelbook.models.threads import threads_each

_PARAMETER = re.compile(r"The '(\w+)' parameter")


class BlendSettings(Section):
    """What `model.hyperparameters.blend` says.

    Attributes:
        members: Names of estimators, or names with settings that differ from their defaults.
        folds: The folds in which the weights are found.
        weights: The weight of each member; None lets them be found.
    """

    members: Annotated[tuple[str | dict[str, dict[str, Any]], ...], Field(min_length=1, strict=False)]
    folds: Annotated[int, Field(ge=2)] = 5
    weights: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if any(isinstance(member, dict) and len(member) != 1 for member in self.members):
            raise ValueError("members: each is a name, or one name with its settings")
        if any(name == BLEND for name, _ in self.wanted):
            raise ValueError("members: a blend is no member of a blend")
        if self.weights is not None and (len(self.weights) != len(self.members) or not sum(self.weights)):
            raise ValueError("weights: one for each member, not all of them 0")
        return self

    @property
    def wanted(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """The algorithm and the settings of each member."""
        pairs: list[dict[str, dict[str, Any]]]
        pairs = [member if isinstance(member, dict) else {member: {}} for member in self.members]
        return tuple(next(iter(pair.items())) for pair in pairs)


class _Wanted(NamedTuple):
    """One estimator: its name, its settings, and where those stand."""

    algorithm: str
    settings: Mapping[str, Any]
    path: str


def build_estimator(config: Config, n_jobs: int | None = None) -> Any:
    """Return the chosen estimator, unfitted, with its hyperparameters, seed and threads set.

    `random_state` and `n_jobs` come from `training`, unless the hyperparameters name them. A target that is
    to be transformed is so by an estimator around it, around each member of a blend.

    Args:
        config: The settings.
        n_jobs: Threads to fit with; None takes `training.n_jobs`.

    Raises:
        ConfigError: There is no such algorithm, its package is not installed, or a hyperparameter is unknown
            or not accepted.

    Example:
        >>> from modelbook.config import load_config
        >>> build_estimator(load_config({"model": {"algorithm": "linear"}}))
        RowwiseRidge(random_state=42)
    """
    check_algorithm(config)
    _refuse_auto(config)
    threads = thread_count(config.training.n_jobs if n_jobs is None else n_jobs)
    if config.model.algorithm == BLEND:
        return _blend(config, threads)
    algorithm = config.model.algorithm
    wanted = _Wanted(algorithm, config.model.chosen, f"model.hyperparameters.{algorithm}")
    return _built(config, wanted, threads)


def _refuse_auto(config: Config) -> None:
    if config.model.algorithm == AUTO:
        raise ConfigError(
            "auto is a search, and no estimator by itself",
            mistakes=("model.algorithm: auto cannot be one of many trials, or fitted without its search",),
            hint="name an algorithm, or let `modelbook run` do the search",
        )


def blend_settings(config: Config) -> BlendSettings:
    """Return what the settings say of a blend.

    Raises:
        ConfigError: They are wrong; each mistake is named with its path.
    """
    try:
        return BlendSettings.model_validate(config.model.chosen)
    except ValidationError as error:
        raise ConfigError(
            "blend does not accept its hyperparameters",
            mistakes=tuple(_mistake(detail) for detail in error.errors(include_url=False)),
            hint="as in `blend: {members: [lightgbm, catboost: {depth: 8}]}`",
        ) from None


def hyperparameter_error(config: Config, error: Exception) -> ConfigError:
    """Return what an estimator said about its hyperparameters as an error with the config path."""
    algorithm = config.model.algorithm
    return _not_accepted(_Wanted(algorithm, {}, f"model.hyperparameters.{algorithm}"), error)


def _blend(config: Config, threads: int) -> Any:
    settings = blend_settings(config)
    path = f"model.hyperparameters.{BLEND}.members"
    share = threads_each(len(settings.wanted), threads)
    members = [
        (name, _built(config, _Wanted(algorithm, chosen, f"{path}.{algorithm}"), share))
        for name, (algorithm, chosen) in zip(_names(settings), settings.wanted, strict=True)
    ]
    _check_probabilities(config, dict(members))
    weights = settings.weights or [1.0] * len(members)
    cls: Any = CATALOGUE[BLEND].estimator_class(config.project.task)
    return cls(members=members, weights=[weight / sum(weights) for weight in weights], n_jobs=threads)


def _check_probabilities(config: Config, members: Mapping[str, Any]) -> None:
    silent = [name for name, member in members.items() if not hasattr(member, "predict_proba")]
    if config.project.task == "classification" and silent:
        raise ConfigError(
            f"{silent[0]} gives no probabilities, whose mean a blend is",
            mistakes=(f"model.hyperparameters.{BLEND}.members: {silent[0]} has no predict_proba",),
            hint="take it out of the members",
        )


def _names(settings: BlendSettings) -> Iterator[str]:
    counts: dict[str, int] = {}
    for name, _ in settings.wanted:
        counts[name] = counts.get(name, 0) + 1
        yield name if counts[name] == 1 else f"{name}_{counts[name]}"


def _built(config: Config, wanted: _Wanted, threads: int) -> Any:
    entry = CATALOGUE.get(wanted.algorithm)
    cls = entry.estimator_class(config.project.task) if entry else user_class(config, wanted.algorithm)
    known = frozenset(_parameters(cls))
    _check_names(wanted, known | (entry.further if entry else frozenset()))
    injected = {"random_state": config.training.seed, "n_jobs": threads}
    settings = {name: value for name, value in injected.items() if name in known}
    settings |= entry.defaults.get(config.project.task, {}) if entry else {}
    estimator = _construct(cls, settings | {**wanted.settings}, config=config, wanted=wanted)
    _check_values(estimator, wanted)
    return _on_transformed_target(estimator, config)


def _on_transformed_target(estimator: Any, config: Config) -> Any:
    """Return an estimator that learns a transformed target and answers in the target's own units."""
    if config.training.target_transform == "none":
        return estimator
    import numpy as np
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import FunctionTransformer, QuantileTransformer

    transformers = {
        "log": FunctionTransformer(np.log1p, inverse_func=np.expm1, check_inverse=False),
        "quantile": QuantileTransformer(
            output_distribution="normal", subsample=None, random_state=config.training.seed
        ),
    }
    transformer = transformers[config.training.target_transform]
    return TransformedTargetRegressor(estimator, transformer=transformer, check_inverse=False)


def _parameters(cls: Any) -> tuple[str, ...]:
    try:
        return tuple(cls().get_params(deep=False))
    except TypeError:  # a class whose arguments have no defaults
        return tuple(cls._get_param_names())  # scikit-learn has no other way to ask a class


def _check_names(wanted: _Wanted, known: frozenset[str]) -> None:
    mistakes = tuple(
        f"{wanted.path}.{name}: unknown; {_nearest(name, known)}"
        for name in wanted.settings
        if name not in known
    )
    if mistakes:
        raise ConfigError(
            f"{wanted.algorithm} is given a hyperparameter that it does not have",
            mistakes=mistakes,
            hint="mend the name in config.yaml",
        )


def _nearest(name: str, known: frozenset[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(known))}"


def _construct(cls: type, settings: Mapping[str, Any], *, config: Config, wanted: _Wanted) -> Any:
    try:
        with user_code_errors(config.path(USER_CODE), "failed to make the estimator"):
            return cls(**settings)
    except TypeError as error:
        raise _not_accepted(wanted, error) from error


def _check_values(estimator: Any, wanted: _Wanted) -> None:
    if not hasattr(estimator, "_parameter_constraints"):
        return
    try:
        estimator._validate_params()  # noqa: SLF001 (what scikit-learn's fit calls; here it is not too late)
    except ValueError as error:
        raise _not_accepted(wanted, error) from error


def _not_accepted(wanted: _Wanted, error: Exception) -> ConfigError:
    named = _PARAMETER.match(str(error))
    path = f"{wanted.path}.{named[1]}" if named else wanted.path
    return ConfigError(
        f"{wanted.algorithm} does not accept its hyperparameters",
        mistakes=(f"{path}: {error}",),
        hint="change the value in config.yaml",
    )


def _mistake(detail: Any) -> str:
    path = ".".join([f"model.hyperparameters.{BLEND}", *map(str, detail["loc"])])
    return f"{path}: {detail['msg'].removeprefix('Value error, ')}"
