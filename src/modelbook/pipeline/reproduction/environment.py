"""The packages that a run was made with: what differs from those here, and an environment that has them."""

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

import modelbook
from modelbook.errors import ModelRefusedError, NotFoundError
from modelbook.files import file_hash, storage_errors, write_whole
from modelbook.logs import PipelineLogger
from modelbook.records import Environment
from modelbook.tracking.lineage import packages_hash

_OWN = "modelbook"
_COMPLETE = "complete"
_SHOWN = 5
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")


def environment_changes(recorded: Environment, now: Environment) -> tuple[str, ...]:
    """Return what of a recorded environment is another now, one difference each.

    Args:
        recorded: The machine and the packages that a run was made with.
        now: Those here.

    Example:
        >>> from modelbook.tracking.lineage import read_environment
        >>> environment_changes(read_environment(), read_environment())
        ()
    """
    pairs = (
        ("Python", recorded.python, now.python),
        ("platform", recorded.platform, now.platform),
        ("CPU", recorded.cpu, now.cpu),
    )
    found = [f"{name}: {old} → {new}" for name, old, new in pairs if old != new]
    return (*found, *_feature_changes(recorded, now), *_package_changes(recorded.packages, now.packages))


def recorded_python(environment: Environment, *, log: PipelineLogger) -> Path:
    """Return the Python of an environment that has exactly the recorded packages, made by uv if need be.

    It is made once, in the user's cache folder, and used again. Modelbook itself is copied there from where
    it runs now if that is the recorded version; another state of its code makes another environment, so that
    none changes under who uses it.

    Args:
        environment: What was recorded.
        log: What goes on is said here.

    Raises:
        ModelRefusedError: The record holds something else than names and versions.
        NotFoundError: uv is not installed, or a recorded package or Python is not to be had.
        StorageError: The folder cannot be written or the disk is full.
    """
    uv = _find_uv()
    _refuse_strange(environment)
    is_ours = environment.packages.get(_OWN) == modelbook.__version__
    name = packages_hash(environment.python, environment.packages)[:16]
    folder = _cache_folder() / (f"{name}-{_own_hash()[:8]}" if is_ours else name)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not (folder / _COMPLETE).is_file():
            log.info(
                f"building the recorded environment: Python {environment.python}, "
                f"{len(environment.packages)} packages, in {folder}"
            )
            _build(uv, folder, python=python, environment=environment, is_ours=is_ours)
            write_whole(folder / _COMPLETE, environment.lock.encode())
    return python


def _refuse_strange(environment: Environment) -> None:
    """Refuse what is no version and no package's name: uv would read an address, an option or a path."""
    words = [environment.python, *environment.packages, *environment.packages.values()]
    if strange := [word for word in words if not _PLAIN.fullmatch(word)]:
        raise ModelRefusedError(
            "the recorded environment holds more than names and versions",
            got=", ".join(strange[:3]),
            expected="letters, digits and . _ - + !",
            hint="make the run again with the packages installed now, without --env recorded",
        )


def _build(uv: str, folder: Path, *, python: Path, environment: Environment, is_ours: bool) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    same = environment.python == ".".join(map(str, sys.version_info[:3]))
    base = getattr(sys, "_base_executable", sys.executable) if same else environment.python
    _run(uv, "venv", "--quiet", "--python", base, str(folder), what=f"Python {environment.python}")
    pins = [
        f"{name}=={version}"
        for name, version in sorted(environment.packages.items())
        if not (name == _OWN and is_ours)
    ]
    write_whole(folder / "recorded.txt", "\n".join(pins).encode())
    # Exactly what was recorded: nothing resolved, nothing added.
    options = ("--quiet", "--compile-bytecode", "--no-deps", "--python", str(python))
    _run(uv, "pip", "install", *options, "-r", str(folder / "recorded.txt"), what="the recorded packages")
    if is_ours:
        _copy_own(python)


def _own_hash() -> str:
    """Return a hash of the Modelbook that runs now, by the names and the bytes of its files."""
    folder = Path(modelbook.__file__).parent
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    lines = (f"{path.relative_to(folder).as_posix()} {file_hash(path)}" for path in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _copy_own(python: Path) -> None:
    """Put the Modelbook that runs now into an environment, as if it had been installed there."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    site = Path(done.stdout.strip())
    source = Path(modelbook.__file__).parent
    shutil.copytree(source, site / _OWN, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = importlib.metadata.distribution(_OWN).read_text("METADATA") or ""
    write_whole(site / f"{_OWN}-{modelbook.__version__}.dist-info/METADATA", metadata.encode())


def _find_uv() -> str:
    beside = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise NotFoundError(
            "uv is not installed, which builds the recorded environment",
            expected="uv beside this Python, or on PATH",
            hint="`pip install uv`; or leave out --env recorded and use the packages that are installed here",
        )
    return found


def _cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / _OWN / "environments"


def _run(uv: str, *arguments: str, what: str) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run([uv, *arguments], env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NotFoundError(
            "the recorded environment cannot be built",
            where=what,
            got=done.stderr.strip() or done.stdout.strip(),
            hint="give uv the index that has them (UV_INDEX_URL, UV_EXTRA_INDEX_URL, UV_FIND_LINKS), "
            "or leave out --env recorded",
        )


def _feature_changes(recorded: Environment, now: Environment) -> Iterable[str]:
    if not recorded.cpu_features:
        return
    lost = sorted({*recorded.cpu_features} - {*now.cpu_features})
    added = sorted({*now.cpu_features} - {*recorded.cpu_features})
    for names, said in ((lost, "missing here"), (added, "here and not there")):
        if names:
            yield f"CPU features {said}: {', '.join(names)}"


def _package_changes(recorded: dict[str, str], now: dict[str, str]) -> Iterable[str]:
    for name, version in recorded.items():
        if now.get(name) != version:
            yield f"package {name}: {version} → {now.get(name, 'not installed')}"
    if added := [name for name in now if name not in recorded]:
        more = f" and {len(added) - _SHOWN} more" if len(added) > _SHOWN else ""
        yield f"packages here and not there: {', '.join(added[:_SHOWN])}{more}"
