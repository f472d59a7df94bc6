"""The files of a new project, rendered from the templates beside this module."""

import platform
import re
import shlex
import unicodedata
from collections.abc import Sequence
from datetime import date
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

from modelbook import __version__
from modelbook.config import METRICS, ColumnSchema, Task
from modelbook.files import write_whole
from modelbook.scaffold.profile import Profile
from modelbook.scaffold.repository import RUN_FILES, commit_command
from modelbook.scaffold.settings import ProjectSettings

TEMPLATES = {
    "config/config.yaml": "config.yaml.j2",
    "dvc.yaml": "dvc.yaml.j2",
    "features.py": "features.py.j2",
    "README.md": "README.md.j2",
    ".gitignore": "gitignore",
    ".dvcignore": "dvcignore",
}
WORKFLOWS = {"github": {".github/workflows/modelbook.yml": "workflow.yml.j2"}}
_PLAIN = re.compile(r"[^\W\d]\w*(?:[ ./-]\w+)*")
_MAX_COMMENT = 90
_EXAMPLE_THRESHOLDS: dict[Task, dict[str, dict[str, float]]] = {
    "regression": {"r2_score": {"min": 0.7}},
    "classification": {"accuracy": {"min": 0.9}},
}
_DECIDING: dict[Task, str] = {
    "regression": "rmse",
    "classification": "log_loss, or accuracy where a model has no probabilities",
}
_HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "random_forest": {"n_estimators": 300},
    "extra_trees": {"n_estimators": 300},
    "hist_gradient_boosting": {"max_iter": 200, "learning_rate": 0.1},
    "lightgbm": {"n_estimators": 1000, "learning_rate": 0.03, "num_leaves": 63},
    "xgboost": {"n_estimators": 1000, "learning_rate": 0.03, "max_depth": 7},
    "catboost": {"n_estimators": 1000, "learning_rate": 0.06, "depth": 8},
    "mlp": {"hidden_layer_sizes": [128, 64]},
    "linear": {},
    "blend": {"members": ["lightgbm", "extra_trees"]},
    "auto": {},
}
# Each cut of a forest looks at a third of the features, as in A. Liaw and M. Wiener, "Classification and
# Regression by randomForest", R News 2/3 (2002) 18-22. Housing, 100 trees: RMSE 41,329 and 5 s; with all of
# them 42,378 and 16 s.
_CUTS: dict[Task, dict[str, Any]] = {"regression": {"max_features": 0.33}, "classification": {}}
_NOTES = {
    "random_forest": "averages trees grown on samples of the rows: a good start",
    "extra_trees": "the same with random cuts: quicker, smoother",
    "hist_gradient_boosting": "trees that mend each other's errors, on binned values: for many rows",
    "lightgbm": "the same by LightGBM: often the most accurate",
    "xgboost": "the same by XGBoost; pip install 'modelbook[xgboost]'",
    "catboost": "the same by CatBoost: slower, strong on categories; pip install 'modelbook[catboost]'",
    "mlp": "a neural network: smooth, wants scaled features without gaps",
    "linear": "ridge or logistic regression: easy to explain",
    "blend": "the weighted mean of several; a member with settings of its own: {catboost: {depth: 8}}",
    "auto": "the best of all these, tuned and blended within training.time_budget_s",
}


def render_project(
    root: Path, settings: ProjectSettings, *, profile: Profile, today: date, ci: str | None = None
) -> None:
    """Write every file of a new project that is no data.

    Args:
        root: The project's folder.
        settings: What the files say.
        profile: What was made of the table.
        today: The day that config.yaml names as that of the look at the table.
        ci: The service that is to run the project on each change, one of `WORKFLOWS`; None for none.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(  # noqa: S701 (no HTML is made: YAML is quoted by a YAML library)
        loader=FunctionLoader(_template),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {"yaml": as_yaml, "rule": _rule, "columns": _columns, "comment": _comment}
    environment.filters |= filters | {"shell": shlex.quote}
    values = _values(settings, profile) | {"today": today.isoformat()}
    for path, template in (TEMPLATES | WORKFLOWS.get(ci or "", {})).items():
        write_whole(root / path, environment.get_template(template).render(values).encode())


def as_yaml(value: Any) -> str:
    """Return a value as YAML on one line, quoted where it has to be.

    Example:
        >>> as_yaml("price: net"), as_yaml("price"), as_yaml("2020"), as_yaml({"min": 0.5})
        ('"price: net"', 'price', '"2020"', '{min: 0.5}')
    """
    from ruamel.yaml import YAML

    if isinstance(value, dict):
        pairs = ", ".join(f"{as_yaml(key)}: {as_yaml(content)}" for key, content in value.items())
        return f"{{{pairs}}}"
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = True
    yaml.allow_unicode = str(value).isprintable()  # line separators would be folded into blanks
    if isinstance(value, str) and not _PLAIN.fullmatch(value):  # in doubt: quotes
        yaml.default_style = '"'
    yaml.width = 1_000_000
    buffer = StringIO()
    yaml.dump([value], buffer)
    return buffer.getvalue().strip()[1:-1]


def _template(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _values(settings: ProjectSettings, profile: Profile) -> dict[str, Any]:
    counts = [
        column.name
        for column in profile.columns
        if column.role == "numeric" and column.rule and column.rule.min == 0 and column.name.isidentifier()
    ]
    return settings.model_dump() | {
        "profile": profile,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "version": __version__,
        "commit_run": commit_command(*RUN_FILES, message="Train a model"),
        "algorithm": "random_forest",
        "hyperparameters": _hyperparameters(settings, profile.task),
        "notes": _NOTES,
        "metrics": METRICS[profile.task],
        "example_slice_metric": METRICS[profile.task][0],
        "deciding": _DECIDING[profile.task],
        "example_thresholds": _EXAMPLE_THRESHOLDS[profile.task],
        "example_column": next(iter(counts), "income"),
    }


def _hyperparameters(settings: ProjectSettings, task: Task) -> dict[str, dict[str, Any]]:
    forests = {name: _HYPERPARAMETERS[name] | _CUTS[task] for name in ("random_forest", "extra_trees")}
    forests["random_forest"] |= settings.hyperparameters
    return _HYPERPARAMETERS | forests


def _rule(rule: ColumnSchema) -> str:
    content = rule.model_dump(mode="json", exclude_defaults=True) | {"nullable": rule.nullable}
    if rule.min == 0:
        content["min"] = 0
    return as_yaml({key: content[key] for key in ("type", "nullable", "min") if key in content})


def _columns(names: Sequence[str]) -> str:
    return "".join(f"\n      - {as_yaml(name)}" for name in names) or " []"


def _comment(text: str) -> str:
    plain = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in text)
    plain = re.sub(" +", " ", plain)
    return plain if len(plain) <= _MAX_COMMENT else plain[: _MAX_COMMENT - 1] + "…"
