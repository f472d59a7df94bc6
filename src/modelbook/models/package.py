"""The package that a fitted model travels in: a skops file, the code it needs, and the record of both.

Nothing is loaded before its hash is the recorded one, and then only types of our own list or of the recorded
code: a skops file says itself which types it holds, so what it asks to be trusted with is not heard.
"""

import threading
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import skops.io
from isal import isal_zlib
from sklearn.pipeline import Pipeline
from skops.io.exceptions import UntrustedTypesFoundException

from modelbook.config import Task
from modelbook.errors import ModelRefusedError
from modelbook.features.code import load_code
from modelbook.files import file_hash, whole_file, write_whole
from modelbook.models.description import describe_model, shipped_name
from modelbook.models.estimators import CATALOGUE, TRUSTED_TYPES
from modelbook.models.integrity import CODE_FOLDER, refuse_other_code, verified_bytes
from modelbook.records import InputColumn, ModelRecord

MODEL_FILE = "model.skops"

_OWN_FOLDER = Path(__file__).parent.parent
# A forest of 300 trees: 86 MB in 1.3 s. zlib takes 3.3 s for that at its level 1, and 9.3 s for 69 MB at 6.
_COMPRESSION_LEVEL = 1
_deflating = threading.Lock()


def dump_skops(model: object, path: Path) -> None:
    """Write an estimator as a compressed skops file, whole or not at all.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    with whole_file(path) as temporary, _quick_deflate():
        skops.io.dump(model, temporary, compression=zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION_LEVEL)


@contextmanager
def _quick_deflate() -> Iterator[None]:
    """Let zip files be deflated by ISA-L, which says of itself that it stands in for zlib.

    skops takes no other compressor than zipfile's own, and that takes two thirds of the time that it takes
    to store a forest.
    """
    with _deflating:
        original = zipfile.zlib  # type: ignore[attr-defined]
        zipfile.zlib = isal_zlib  # type: ignore[attr-defined]
        try:
            yield
        finally:
            zipfile.zlib = original  # type: ignore[attr-defined]


def load_skops(path: Path, *, sha256: str, code: Iterable[Path] = ()) -> Pipeline:
    """Return the estimator of a skops file after checking that the file is the recorded one.

    Args:
        path: The file.
        sha256: The recorded hash of its bytes.
        code: Python files whose types it may hold; their own hashes are the caller's to check.

    Raises:
        NotFoundError: There is no such file.
        ModelRefusedError: The bytes are others, or hold types that are not on the list.
    """
    content = verified_bytes(path, sha256)
    try:
        return skops.io.loads(content, trusted=sorted(_trusted(code)))
    except UntrustedTypesFoundException as error:
        raise ModelRefusedError(
            "a model holds types that are not trusted",
            where=str(path),
            got=str(error),
            hint="train with estimators of the catalogue, of scikit-learn's own safe types or of features.py",
        ) from error
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise ModelRefusedError(
            "a model's file is not what it says",
            where=str(path),
            got=f"{type(error).__name__}: {error}",
            expected="a skops file written by the versions in metadata.json",
        ) from error


def pack(
    model: Pipeline,
    folder: Path,
    *,
    algorithm: str,
    task: Task,
    target: str,
    inputs: Sequence[InputColumn],
    code: Sequence[Path],
) -> ModelRecord:
    """Write a fitted pipeline and the code it needs into a folder, and return the record of them.

    Args:
        model: The pipeline, from raw columns to predictions.
        folder: Gets `model.skops` and `code/`.
        algorithm: The name of the estimator.
        task: What it predicts.
        target: The column that it predicts.
        inputs: The raw columns that it takes.
        code: The Python files that define its own types, as the FeatureEngineer lists them.

    Raises:
        ConfigError: The code imports a package that is not installed as a distribution.
        ModelRefusedError: It holds types that could not be loaded again.
        StorageError: The folder cannot be written or the disk is full.
    """
    path = folder / MODEL_FILE
    dump_skops(model, path)
    if algorithm not in CATALOGUE or any(_is_users(file) for file in code):
        _check_types(path, code)
    for file in code:
        _ship(file, folder / CODE_FOLDER)
    record = describe_model(model, algorithm=algorithm, task=task, target=target, inputs=inputs, code=code)
    stored = {"file": MODEL_FILE, "sha256": file_hash(path), "size_bytes": path.stat().st_size}
    return record.model_copy(update=stored)


def unpack(folder: Path, record: ModelRecord) -> Pipeline:
    """Return the pipeline that a folder holds, after checking every file of it against the record.

    Raises:
        NotFoundError: A file is missing.
        ModelRefusedError: A file is not the recorded one, there is code that the record does not list, or the
            model holds types that are not trusted.
    """
    refuse_other_code(folder / CODE_FOLDER, record)
    code = [folder / CODE_FOLDER / file.name for file in record.code]
    for path, file in zip(code, record.code, strict=True):
        verified_bytes(path, file.sha256)
    return load_skops(folder / record.file, sha256=record.sha256, code=code)


def trusted_types(folder: Path, record: ModelRecord) -> tuple[str, ...]:
    """Return the types that a packed model may hold: our own list and those of its code."""
    code = [folder / CODE_FOLDER / file.name for file in record.code]
    return tuple(sorted(_trusted(code)))


def _is_users(file: Path) -> bool:
    return _OWN_FOLDER not in file.parents


def _check_types(path: Path, code: Iterable[Path]) -> None:
    """Refuse a model that could not be loaded again; those of the catalogue are known to be loadable."""
    strangers = set(skops.io.get_untrusted_types(file=path)) - _trusted(code)
    if strangers:
        raise ModelRefusedError(
            "the model holds types that are not trusted, so it could not be loaded again",
            where=path.name,
            got=", ".join(sorted(strangers)),
            hint="build it from scikit-learn's estimators, the catalogue's, and classes in features.py",
        )


def _trusted(code: Iterable[Path]) -> frozenset[str]:
    return TRUSTED_TYPES | {name for file in code for name in _types_of(load_code(file))}


def _ship(source: Path, folder: Path) -> None:
    write_whole(folder / shipped_name(source), source.read_bytes())


def _types_of(module: ModuleType) -> set[str]:
    classes = (value for value in vars(module).values() if isinstance(value, type))
    return {f"{cls.__module__}.{cls.__qualname__}" for cls in classes if cls.__module__ == module.__name__}
