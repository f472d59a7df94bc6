"""What a bundle says of itself: which model it is, how it answers, and the hash of each of its files."""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from modelbook.config import ColumnType
from modelbook.errors import ModelRefusedError, NotFoundError
from modelbook.files import file_hash, write_whole
from modelbook.records import ModelRecord, Record

MANIFEST = "bundle.json"
MANIFEST_HASH = "bundle.sha256"
MODEL_FOLDER = "model"
GOLDEN = "golden.json"
COMPILED = "compiled.json"
ARRAYS = "arrays"

Kind = Literal["compiled", "reference"]


class ServedColumn(Record):
    """A column that the model takes, as its users are told of it.

    Attributes:
        name: The column.
        type: Its type.
        nullable: Whether the schema of training allowed gaps.
        min: The smallest number among the rows that came with the model; None where there were none.
        max: The largest.
        categories: The texts that the model knows, sorted; None where it takes any, or they are too many.
        example: A value that the model takes, as JSON has it.
    """

    name: str
    type: ColumnType
    nullable: bool
    min: float | None = None
    max: float | None = None
    categories: tuple[str, ...] | None = None
    example: float | int | bool | str | None = None


class Manifest(Record):
    """bundle.json.

    Attributes:
        schema_version: The version of this record.
        name: The name that the model is registered under; None where it is not.
        version: Its version there.
        record: What is recorded of the model.
        kind: Whether its own code answers (`reference`), or the constants of the bundle do (`compiled`).
        why: Why it is not compiled; None where it is.
        has_probabilities: Whether it says how probable each class is.
        columns: The columns that it takes, in order.
        files: The SHA-256 of every other file, by its path in the bundle.
    """

    schema_version: int = 1
    name: str | None
    version: str | None
    record: ModelRecord
    kind: Kind
    why: str | None
    has_probabilities: bool
    columns: tuple[ServedColumn, ...]
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def example(self) -> dict[str, Any]:
        """A row that the model takes, as JSON has it."""
        return {column.name: column.example for column in self.columns}


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Write bundle.json beside the files of a folder, with the hash of each, and return it.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    files = {path.relative_to(folder).as_posix(): file_hash(path) for path in _files(folder)}
    sealed = manifest.model_copy(update={"files": files})
    content = sealed.to_bytes()
    write_whole(folder / MANIFEST, content)
    write_whole(folder / MANIFEST_HASH, f"{hashlib.sha256(content).hexdigest()}\n".encode())
    return sealed


def read_manifest(folder: Path) -> Manifest:
    """Return what bundle.json says, after every file of the bundle was held against its hash.

    Raises:
        NotFoundError: There is no bundle.
        ModelRefusedError: A file is missing, is another, or is not listed.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        recorded = (folder / MANIFEST_HASH).read_text().strip()
    except FileNotFoundError:
        raise NotFoundError("there is no bundle of a model", where=str(folder)) from None
    if hashlib.sha256(content).hexdigest() != recorded:
        raise refused(folder, f"{MANIFEST} is another")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError:
        raise refused(folder, f"{MANIFEST} cannot be read by this version of Modelbook") from None
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    if unlike := sorted(found.keys() ^ manifest.files.keys()):
        raise refused(folder, f"missing, or not listed: {', '.join(unlike)}")
    if others := [name for name, path in found.items() if file_hash(path) != manifest.files[name]]:
        raise refused(folder, f"not as they were: {', '.join(sorted(others))}")
    return manifest


def refused(folder: Path, got: str) -> ModelRefusedError:
    """Return the error of a bundle that is not what it should be.

    Example:
        >>> refused(Path("bundle"), "golden.json is another").got
        'golden.json is another'
    """
    return ModelRefusedError(
        "the bundle of a model is not what was written",
        where=str(folder),
        got=got,
        hint="remove the folder: it is made again from the registered model",
    )


def _files(folder: Path) -> list[Path]:
    own = {folder / MANIFEST, folder / MANIFEST_HASH}
    parts = (path for path in sorted(folder.rglob("*")) if path not in own and path.is_file())
    return [path for path in parts if "__pycache__" not in path.parts]
