"""What can be said against a run before anything runs."""

from modelbook.config import CONFIG_PATH, Config
from modelbook.errors import ConfigError, NotFoundError, UsageError
from modelbook.features.code import USER_CODE
from modelbook.models.estimators import check_algorithm
from modelbook.pipeline import layout
from modelbook.registry.registry import ModelRegistry


def check_project(config: Config, *, use_dvc: bool) -> None:
    """Return quietly where a project has what a run needs, before any stage is started.

    Args:
        config: The project.
        use_dvc: Whether DVC is to drive it.

    Raises:
        ConfigError: The algorithm is unknown or not installed, has no line of hyperparameters for DVC to look
            at, or a setting is used that the project's dvc.yaml does not look at.
        ModelbookError: The local registry cannot be read.
        NotFoundError: A file that the pipeline is made of is missing.
    """
    check_algorithm(config)
    ModelRegistry(config).versions()  # a model would be trained that could not be registered
    if use_dvc:
        _check_files(config)
        _check_hyperparameters(config)
        _check_watched(config)


def check_dvc_files(config: Config) -> None:
    """Return quietly where dvc.yaml and dvc.lock can be read; a run leaves that to DVC.

    Raises:
        UsageError: One of them is damaged.
    """
    for name in (layout.PIPELINE, layout.LOCK):
        _check_readable(config, name)


def _check_files(config: Config) -> None:
    for name in (layout.PIPELINE, USER_CODE):
        if not config.path(name).is_file():
            raise NotFoundError(
                f"{name} is missing",
                where=str(config.root),
                hint=f"`git checkout {name}` brings it back; `modelbook run --no-dvc` does without",
            )


def _check_hyperparameters(config: Config) -> None:
    algorithm = config.model.algorithm
    if algorithm not in config.model.hyperparameters:
        raise ConfigError(
            "the algorithm has no line of hyperparameters, which dvc.yaml looks at",
            mistakes=(f"model.hyperparameters.{algorithm}: missing",),
            where=str(config.path(CONFIG_PATH)),
            hint=f"add `{algorithm}: {{}}` under model.hyperparameters for its defaults",
        )


def _check_watched(config: Config) -> None:
    """Refuse a setting that a dvc.yaml of an older Modelbook does not know: it would change nothing."""
    used = {
        "training.early_stopping": config.training.early_stopping is not None,
        "training.target_transform": config.training.target_transform != "none",
    }
    pipeline = config.path(layout.PIPELINE).read_bytes()
    for setting, is_used in used.items():
        if is_used and setting.encode() not in pipeline:
            raise ConfigError(
                f"dvc.yaml does not look at {setting}, so changing it would train nothing",
                mistakes=(f"{setting}: not among the params of the stage train",),
                where=str(config.path(layout.PIPELINE)),
                hint=f"add `- {setting}` below training.cv_folds there",
            )


def _check_readable(config: Config, name: str) -> None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = config.path(name)
    try:
        content = YAML(typ="safe", pure=True).load(path) if path.is_file() else {}
    except YAMLError:
        content = None
    if not isinstance(content, dict):
        raise UsageError(
            f"{name} is damaged",
            where=str(path),
            expected="what DVC writes",
            hint=f"`git checkout {name}` brings it back",
        )
