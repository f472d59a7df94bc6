"""A package held against its record, without loading any of it."""

import hashlib
from pathlib import Path

from modelbook.errors import ModelRefusedError, NotFoundError
from modelbook.records import ModelRecord

CODE_FOLDER = "code"


def verify_package(folder: Path, record: ModelRecord) -> None:
    """Return quietly where every file of a package is the recorded one, and there is no code beside them.

    Args:
        folder: Holds the model's file and, in `code/`, its code.
        record: What was recorded of it.

    Raises:
        NotFoundError: A file is missing.
        ModelRefusedError: A file is not the recorded one, or there is code that the record does not list.
    """
    refuse_other_code(folder / CODE_FOLDER, record)
    for file in record.code:
        verified_bytes(folder / CODE_FOLDER / file.name, file.sha256)
    verified_bytes(folder / record.file, record.sha256)


def verified_bytes(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file after checking that they are the recorded ones.

    Raises:
        NotFoundError: There is no such file.
        ModelRefusedError: The bytes are others.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            "a file of the model is missing",
            where=str(path),
            hint="fetch it with `dvc checkout` or `dvc pull`, or make it again with `modelbook run`",
        ) from None
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ModelRefusedError(
            "a file of the model is not the one that was recorded",
            where=str(path),
            got=f"sha256 {found}",
            expected=f"sha256 {sha256}",
            hint="it was changed or cut off after it was recorded: do not load it, restore it",
        )
    return content


def refuse_other_code(folder: Path, record: ModelRecord) -> None:
    """Refuse code that nobody recorded: others who load the model may have all of the folder imported.

    Raises:
        ModelRefusedError: The folder holds code that the record does not list.
    """
    known = {file.name for file in record.code} | {"__pycache__"}  # plain MLflow leaves bytecode there
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if unknown := sorted(found - known):
        raise ModelRefusedError(
            "there is code with the model that its record does not list",
            where=str(folder),
            got=", ".join(unknown),
            expected=", ".join(sorted(known - {"__pycache__"})) or "no code",
            hint="it was put there after the model was recorded: do not load it, take the code away",
        )
