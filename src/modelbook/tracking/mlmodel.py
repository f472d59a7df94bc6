"""A packed model as an MLflow model folder, which plain MLflow loads and serves without Modelbook."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema
from ruamel.yaml import YAML

from modelbook.files import storage_errors
from modelbook.records import InputColumn, ModelRecord

_CODE = "code"
_CONDA_ENV = "conda.yaml"
_PYTHON_ENV = "python_env.yaml"
_EXAMPLE = "input_example.json"
_SERVING_EXAMPLE = "serving_input_example.json"

_TYPES = {
    "float": DataType.double,
    "integer": DataType.long,
    "boolean": DataType.boolean,
    "string": DataType.string,
    "datetime": DataType.datetime,
}


def write_mlmodel(
    folder: Path,
    record: ModelRecord,
    *,
    model: Model,
    trusted: Sequence[str],
    example: str | None,
) -> None:
    """Make a packed model's folder what MLflow stores: MLmodel, requirements, code, signature and example.

    Args:
        folder: Holds the model's file and, in `code/`, its code.
        record: The packed model.
        model: MLflow's own record of it, which is completed.
        trusted: The types that plain MLflow may load, beside those that skops trusts.
        example: A few rows of raw columns, as JSON of the form `{"columns": …, "data": …}`, if any.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    with storage_errors(folder):
        _write_environment(folder, record.requirements)
        if example is not None:
            model.saved_input_example_info = _write_example(folder, example)
        model.signature = _signature(record)
        model.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        _add_flavors(model, record, trusted)
        model.save(str(folder / "MLmodel"))


def _add_flavors(model: Model, record: ModelRecord, trusted: Sequence[str]) -> None:
    """Say how plain MLflow loads the model: as scikit-learn's, and as any Python model."""
    code = _CODE if record.code else None
    pyfunc.add_to_model(
        model,
        loader_module="mlflow.sklearn",
        model_path=record.file,
        predict_fn="predict",
        code=code,
        conda_env=_CONDA_ENV,
        python_env=_PYTHON_ENV,
    )
    model.add_flavor(
        "sklearn",
        pickled_model=record.file,
        sklearn_version=_pinned(record.requirements, "scikit-learn"),
        serialization_format="skops",
        skops_trusted_types=sorted(trusted),
        code=code,
    )


def _signature(record: ModelRecord) -> ModelSignature:
    inputs = Schema([ColSpec(_input_type(column), column.name) for column in record.inputs])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec(_output_type(record))]))


def _input_type(column: InputColumn) -> DataType | AnyType:
    """Return the type that every value of a column fits, missing ones included.

    MLflow's integers and booleans have no missing value, and its doubles refuse integers, so a column that
    may miss some is of any type; the model itself reads it as numbers.
    """
    if column.nullable and column.type in {"integer", "boolean"}:
        return AnyType()  # type: ignore[no-untyped-call]
    return _TYPES[column.type]


def _output_type(record: ModelRecord) -> DataType:
    if record.task == "regression":
        return DataType.double
    kinds = {bool: DataType.boolean, int: DataType.long, str: DataType.string}
    return kinds[type(record.classes[0])]


def _write_example(folder: Path, example: str) -> dict[str, Any]:
    (folder / _EXAMPLE).write_text(example, encoding="utf-8")
    (folder / _SERVING_EXAMPLE).write_text(f'{{"dataframe_split": {example}}}', encoding="utf-8")
    return {
        "artifact_path": _EXAMPLE,
        "serving_input_path": _SERVING_EXAMPLE,
        "type": "dataframe",
        "pandas_orient": "split",
    }


def _write_environment(folder: Path, requirements: Sequence[str]) -> None:
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    python = platform.python_version()
    conda: dict[str, Any] = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(requirements)}],
    }
    environment = {"python": python, "dependencies": ["-r requirements.txt"]}
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(conda, folder / _CONDA_ENV)
    yaml.dump(environment, folder / _PYTHON_ENV)


def _pinned(requirements: Sequence[str], name: str) -> str:
    return dict(requirement.split("==", 1) for requirement in requirements)[name]
