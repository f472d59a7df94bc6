"""Data by its hash: from DVC's cache, from its remote, or from where it lies in the project."""

import shutil
from collections.abc import Callable
from pathlib import Path

from modelbook.config import Config
from modelbook.errors import ModelbookError, NotFoundError
from modelbook.files import file_hash, storage_errors
from modelbook.logs import PipelineLogger
from modelbook.pipeline.workspace import dvc_errors
from modelbook.records import DataVersion


def bring_data(config: Config, version: DataVersion, destination: Path, *, log: PipelineLogger) -> str:
    """Bring a file of data as it was used into a folder, and return the hash of what was brought.

    That is another hash than the recorded one only where DVC's cache or remote has other bytes under it,
    which is said.

    Args:
        config: The project.
        version: The file.
        destination: The file to make.
        log: What goes on is said here.

    Raises:
        NotFoundError: Neither DVC nor the project has it.
        StorageError: The folder cannot be written or the disk is full.
    """
    source, problem = _stored(config, version, log)
    if source is None:
        source = _own(config, version)
    if source is None:
        raise _not_to_be_had(version, problem)
    with storage_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
    md5 = file_hash(destination, "md5")
    if md5 != version.md5:
        log.warning(
            f"{version.path}: DVC has other bytes under {version.md5}, whose hash is {md5}: "
            f"delete {source} and run `dvc fetch`"
        )
    return md5


def find_data(config: Config, version: DataVersion, *, log: PipelineLogger) -> Path:
    """Return where a file of data as it was used lies: in the project, or in DVC's cache.

    Args:
        config: The project.
        version: The file.
        log: What goes on is said here.

    Raises:
        NotFoundError: Neither DVC nor the project has it.
    """
    if (own := _own(config, version)) is not None:
        return own
    source, problem = _stored(config, version, log)
    if source is None or file_hash(source, "md5") != version.md5:
        raise _not_to_be_had(version, problem or f"DVC has other bytes under {version.md5}")
    return source


def _not_to_be_had(version: DataVersion, problem: str) -> NotFoundError:
    return NotFoundError(
        "a file of data that the run used is not to be had",
        where=version.path,
        got=problem,
        expected=f"md5 {version.md5}, {version.size_bytes} bytes",
        hint="`dvc push` it from where the run was made to a remote that this project names too",
    )


def _own(config: Config, version: DataVersion) -> Path | None:
    path = config.path(version.path)
    return path if path.is_file() and file_hash(path, "md5") == version.md5 else None


def _stored(config: Config, version: DataVersion, log: PipelineLogger) -> tuple[Path | None, str]:
    """Return the file in DVC's cache, brought from the remote if need be; else why there is none."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with dvc_errors(config.root), Repo(str(config.root)) as repo:
            path = Path(repo.cache.local.oid_to_path(version.md5))
            if path.is_file():
                return path, ""
            log.info(f"{version.path} is not in DVC's cache: looking in the remote")
            problem = _fetch(repo.cloud.pull, version)
            return (path, "") if path.is_file() else (None, problem)
    except ModelbookError as error:
        if isinstance(error.__cause__, NotDvcRepoError):
            return None, "the project is not under DVC's care"
        raise


def _fetch(pull: Callable[..., object], version: DataVersion) -> str:
    """Try the remote, and return why it does not have the file."""
    from dvc.config import NoRemoteError
    from dvc_data.hashfile.hash_info import HashInfo

    try:
        pull([HashInfo("md5", version.md5)])
    except NoRemoteError:
        return "not in DVC's cache, and no remote is set"
    except Exception as error:  # noqa: BLE001 (each kind of remote raises what its own library does)
        return f"not in DVC's cache, and its remote fails: {type(error).__name__}: {error}"
    return "neither in DVC's cache nor in its remote"
