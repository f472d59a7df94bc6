"""What a fitted model is, in words and numbers: its record, whether or not it is stored."""

import importlib.metadata
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from modelbook.config import ColumnSchema, Config, Task
from modelbook.errors import ConfigError
from modelbook.features.code import imported_modules, load_code
from modelbook.files import file_hash
from modelbook.models.digest import model_digest
from modelbook.records import CodeFile, InputColumn, ModelRecord

_BASE_DISTRIBUTIONS = ("joblib", "mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
_BASE_MODULES = frozenset({"joblib", "mlflow", "numpy", "pandas", "scipy", "sklearn", "skops"})


def describe_model(
    model: Pipeline,
    *,
    algorithm: str,
    task: Task,
    target: str,
    inputs: Sequence[InputColumn],
    code: Sequence[Path],
) -> ModelRecord:
    """Return the record of a fitted pipeline that is not stored: by it, and by its digest, it is known again.

    Args:
        model: The pipeline, from raw columns to predictions.
        algorithm: The name of the estimator.
        task: What it predicts.
        target: The column that it predicts.
        inputs: The raw columns that it takes.
        code: The Python files that define its own types.

    Returns:
        A record with a file of no name, no hash and no bytes.

    Raises:
        ConfigError: The code imports a package that is not installed as a distribution.
    """
    classes = getattr(model, "classes_", ()) if task == "classification" else ()
    return ModelRecord(
        algorithm=algorithm,
        task=task,
        target=target,
        classes=tuple(np.asarray(classes).tolist()),
        inputs=tuple(inputs),
        file="",
        sha256="",
        size_bytes=0,
        digest=model_digest(model),
        code=tuple(CodeFile(name=shipped_name(file), sha256=file_hash(file)) for file in code),
        requirements=_requirements(code),
    )


def describe_inputs(model: object, config: Config) -> tuple[InputColumn, ...]:
    """Return the raw columns that a fitted model takes, with the types that the schema gives them.

    Columns that the schema does not know are numbers that may be missing.
    """
    names = getattr(model, "feature_names_in_", config.features.columns)
    unknown = ColumnSchema(type="float")
    schemas = {str(name): config.data.columns.get(str(name), unknown) for name in names}
    return tuple(
        InputColumn(name=name, type=schema.type, nullable=schema.nullable) for name, schema in schemas.items()
    )


def shipped_name(source: Path) -> str:
    """Return the name that a file of code travels under."""
    return f"{load_code(source).__name__}.py"


def _requirements(code: Iterable[Path]) -> tuple[str, ...]:
    names = set(_BASE_DISTRIBUTIONS)
    imported = {name for file in code for name in imported_modules(file)}
    unknown = imported - _BASE_MODULES - sys.stdlib_module_names
    if unknown:
        providers = importlib.metadata.packages_distributions()
        for name in sorted(unknown):
            if name not in providers:
                raise ConfigError(
                    "features.py imports a module that no installed package provides",
                    mistakes=(f"import {name}",),
                    hint="a model travels with its code file alone: use installed packages, or put it inside",
                )
            names.update(providers[name])
    return tuple(f"{name}=={importlib.metadata.version(name)}" for name in sorted(names))
