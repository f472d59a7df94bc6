"""The `.joblib` files of a model, for people who expect them; Modelbook itself does not read them."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import joblib
from isal.igzip import IGzipFile
from sklearn.pipeline import Pipeline

from modelbook.features.code import load_code
from modelbook.features.engineer import fitted_encoder, fitted_scaler
from modelbook.files import free_name, whole_file, write_whole
from modelbook.logs import STAMP

# A forest of 300 trees, depth 20: 86 MB in 0.7 s. zlib at its quickest takes 3.7 s for the same size; both
# make what gzip reads, and `joblib.load` knows it by its first bytes.
_COMPRESSION_LEVEL = 2


def export_joblib(
    model: Pipeline, folder: Path, *, algorithm: str, moment: datetime, code: Iterable[Path]
) -> Path:
    """Write a fitted pipeline, its scaler and its encoder, and return the path of the first.

    Loading them in a process without Modelbook takes the folder on `sys.path`: the Python files that define
    their types are written beside them.

    Args:
        model: A fitted pipeline of features and estimator.
        folder: Where the files go.
        algorithm: The name of the estimator, for the file's name.
        moment: When it was made, for the file's name.
        code: The Python files that define its types.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    stem = f"model_{algorithm}_{moment.strftime(STAMP)}"
    path = folder / f"{free_name(stem, {file.stem for file in folder.glob('*.joblib')})}.joblib"
    for file in code:
        write_whole(folder / f"{load_code(file).__name__}.py", file.read_bytes())
    _dump(fitted_scaler(model["features"]), folder / "scaler.joblib")
    _dump(fitted_encoder(model["features"]), folder / "encoder.joblib")
    _dump(model, path)
    return path


def _dump(value: Any, path: Path) -> None:
    with (
        whole_file(path) as temporary,
        temporary.open("wb") as file,
        IGzipFile("", "wb", _COMPRESSION_LEVEL, file, mtime=0) as packed,  # no name, no time: the same bytes
    ):
        joblib.dump(value, packed)
