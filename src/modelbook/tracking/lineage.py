"""Where a result comes from: code, data, settings, environment, seeds and the command."""

import getpass
import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML

from modelbook.config import Config, mask_password
from modelbook.files import file_hash
from modelbook.logs import PipelineLogger
from modelbook.records import CodeState, DataVersion, Environment, Lineage
from modelbook.tracking.keys import mlflow_key

CONFIG_FILE = "config.yaml"
ENVIRONMENT_FILE = "environment.lock"
PATCH_FILE = "uncommitted.patch"
PATCH_TAG = "modelbook.git.patch_sha256"

# Noted down by the runs themselves; what they say is on record in another form.
_NOTES = ("dvc.lock", "*.dvc", "config/packages.yaml")
_NEVER_DIRTY = tuple(f":(exclude,glob)**/{note}" for note in _NOTES)
# A git that runs this process, as in a hook, points these at its own repository.
GIT_POINTERS = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"})
_AS_IT_IS: Mapping[str, str] = MappingProxyType({})
_LARGEST_UNTRACKED_BYTES = 1 << 20
_NAME_AND_VERSION = re.compile(r"^(Name|Version): *(\S+)", re.MULTILINE)
_VECTOR = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "neon", "sve")


def read_lineage(
    config: Config, *, data: Iterable[str], rows: Mapping[str, int], threads: int, command: str
) -> Lineage:
    """Return everything that a result made now, with these settings, comes from.

    Args:
        config: The settings.
        data: The input files, as paths in the project.
        rows: The rows of those that are tables.
        threads: Threads to fit with.
        command: The command as it was given.
    """
    versions = (data_version(config.root, path, rows=rows.get(path)) for path in data)
    return Lineage(
        code=read_code_state(config.root),
        data=tuple(versions),
        config=config.as_dict(),
        config_sha256=config.sha256,
        config_yaml=settings_yaml(config),
        environment=read_environment(),
        seeds={"split": config.split.seed, "training": config.training.seed},
        threads=threads,
        command=command,
        host=platform.node(),
    )


def data_version(root: Path, path: str, *, rows: int | None = None) -> DataVersion:
    """Return a data file's hash and size. The hash is DVC's own: MD5 over the file's bytes."""
    file = root / path
    return DataVersion(path=path, md5=file_hash(file, "md5"), size_bytes=file.stat().st_size, rows=rows)


def read_code_state(root: Path, *, replaced: Mapping[str, bytes] = MappingProxyType({})) -> CodeState:
    """Return the commit that a project stands on and what differs from it.

    The difference is a patch over the commit, untracked files included; what git ignores, dvc.lock, DVC's
    pointer files, untracked files above 1 MiB and what git cannot read are not part of it. Nothing in the
    work tree changes.

    Args:
        root: The project.
        replaced: Files by their path in the project that count as being of this content.
    """
    commit = git_says(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        if refusal := git_refusal(root):
            _warn(f"the run carries no commit: git refuses the repository ({refusal})")
        return CodeState(commit=None, branch=None, is_dirty=False)
    branch = git_says(root, "symbolic-ref", "--short", "--quiet", "HEAD") or None
    status = _git(root, "status", "--porcelain", "--", ".", *_NEVER_DIRTY)
    is_clean = not (status is None or status.returncode or status.stdout)
    if is_clean and not replaced:
        return CodeState(commit=commit, branch=branch, is_dirty=False)
    patch, omitted = _patch(root, replaced)
    if replaced and not patch and not omitted:
        return CodeState(commit=commit, branch=branch, is_dirty=False)
    if not patch and not omitted:
        _warn("git gives no patch of what differs from the commit: that is not on record")
    return CodeState(commit=commit, branch=branch, is_dirty=True, patch=patch, patch_omitted=omitted)


def read_environment() -> Environment:
    """Return the machine and the installed packages."""
    packages = dict(filter(None, map(_name_and_version, importlib.metadata.distributions())))
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu_name(),
        packages=dict(sorted(packages.items())),
        sha256=packages_hash(platform.python_version(), packages),
        cpu_features=_cpu_features(),
    )


def packages_hash(python: str, packages: Mapping[str, str]) -> str:
    """Return the hash of a version of Python and the versions of packages."""
    lines = [python, *(f"{name}=={packages[name]}" for name in sorted(packages))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _name_and_version(distribution: importlib.metadata.Distribution) -> tuple[str, str] | None:
    """Return what an installed package says it is; None for one whose installation was cut off.

    Its two lines are looked for: parsing the metadata of 200 packages takes three times as long.
    """
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    found = dict(_NAME_AND_VERSION.findall(text.partition("\n\n")[0]))
    return (found["Name"], found["Version"]) if "Name" in found and "Version" in found else None


def command_line() -> str:
    """Return the command that this process was started with, as a shell takes it; passwords are masked."""
    arguments = sys.orig_argv
    if Path(sys.argv[0]).name in {"modelbook", "__main__.py"}:
        arguments = ["modelbook", *sys.argv[1:]]
    return shlex.join(mask_password(word) or "" for word in arguments)


def lineage_tags(lineage: Lineage) -> dict[str, str]:
    """Return what a run in MLflow carries of where it came from, in MLflow's own names where it has them."""
    code = lineage.code
    patch = {} if code.patch is None else {PATCH_TAG: hashlib.sha256(code.patch).hexdigest()}
    return {
        "mlflow.source.name": lineage.command,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user_name(),
        "modelbook.git.dirty": str(code.is_dirty).lower(),
        "modelbook.config_sha256": lineage.config_sha256,
        "modelbook.environment_sha256": lineage.environment.sha256,
        "modelbook.python": lineage.environment.python,
        "modelbook.cpu": lineage.environment.cpu,
        "modelbook.host": lineage.host,
        "modelbook.threads": str(lineage.threads),
        "modelbook.command": lineage.command,
        **patch,
        **({"mlflow.source.git.commit": code.commit} if code.commit else {}),
        **({"mlflow.source.git.branch": code.branch} if code.branch else {}),
        **{f"modelbook.seed.{name}": str(seed) for name, seed in lineage.seeds.items()},
        **{mlflow_key(f"modelbook.data.{version.path}"): version.md5 for version in lineage.data},
    }


def lineage_files(lineage: Lineage) -> dict[str, bytes]:
    """Return what a run carries of where it came from that is too long for a tag, by file name."""
    files = {
        CONFIG_FILE: (lineage.config_yaml or _yaml(lineage.config)).encode(),
        ENVIRONMENT_FILE: lineage.environment.lock.encode(),
    }
    return files | ({PATCH_FILE: lineage.code.patch} if lineage.code.patch is not None else {})


def settings_yaml(config: Config) -> str:
    """Return every setting, defaults included, as YAML that keeps its types; passwords are masked."""
    settings = config.model_dump(by_alias=True)
    masked = config.as_dict()
    for section, key in (("data", "source"), ("tracking", "uri")):
        settings[section][key] = masked[section][key]
    return _yaml(settings)


def _yaml(settings: Mapping[str, Any]) -> str:
    text = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # ruamel.yaml says None
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.dump(settings, text)
    return text.getvalue()


def user_name() -> str:
    """Return the name that the user goes by on this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _patch(root: Path, replaced: Mapping[str, bytes]) -> tuple[bytes, tuple[str, ...]]:
    """Return the patch over the commit, and the files that it leaves out."""
    omitted = _large_untracked(root)
    paths = (".", *_NEVER_DIRTY, *(f":(exclude,literal){path}" for path in omitted))
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git_bytes(root, "read-tree", "HEAD", environ=index)
        if refusal := _refusal(_git(root, "add", "--all", "--ignore-errors", "--", *paths, environ=index)):
            omitted = _not_added(root, index)
            _warn(f"not committed, and not on record: {', '.join(omitted)} (git: {refusal})")
        for path, content in replaced.items():
            blob = _git_bytes(root, "hash-object", "-w", "--stdin", content=content).decode().strip()
            place = git_says(root, "rev-parse", "--show-prefix") + path
            _git_bytes(root, "update-index", "--add", "--cacheinfo", f"100644,{blob},{place}", environ=index)
        # Not `git diff`: what the user told it about colours, prefixes and tools would spoil the patch.
        options = ("--cached", "--patch", "--binary", "--no-ext-diff", "--no-textconv")
        return _git_bytes(root, "diff-index", *options, "HEAD", "--", ".", environ=index), omitted


def _warn(message: str) -> None:
    PipelineLogger("tracking").warning(message)


def _large_untracked(root: Path) -> tuple[str, ...]:
    paths = _listed(root, "--others")
    return tuple(path for path in paths if _size_bytes(root / path) > _LARGEST_UNTRACKED_BYTES)


def _not_added(root: Path, index: Mapping[str, str]) -> tuple[str, ...]:
    """Return what differs from the commit and is not in an index all the same."""
    return _listed(root, "--others", "--modified", "--", ".", *_NEVER_DIRTY, environ=index)


def _listed(root: Path, *which: str, environ: Mapping[str, str] = _AS_IT_IS) -> tuple[str, ...]:
    words = ("ls-files", "--exclude-standard", "-z", *which)
    names = _git_bytes(root, *words, environ=environ).decode("utf-8", "surrogateescape")
    return tuple(filter(None, names.split("\0")))


def _size_bytes(path: Path) -> int:
    """Return the size of what a path itself names, as a link that leads nowhere; 0 where it is gone."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def git_says(root: Path, *arguments: str) -> str:
    """Return what git prints in a folder, and nothing where it refuses, or git or a repository is missing."""
    return _git_bytes(root, *arguments).decode("utf-8", "surrogateescape").strip("\n")


def git_refusal(root: Path) -> str:
    """Return in git's own words why it refuses the repository that a folder lies in.

    Nothing where it does not refuse, where there is none, or where git is missing.
    """
    if not any((folder / ".git").exists() for folder in (root, *root.resolve().parents)):
        return ""
    return _refusal(_git(root, "rev-parse", "--git-dir"))


def _git_bytes(
    root: Path, *arguments: str, environ: Mapping[str, str] = _AS_IT_IS, content: bytes | None = None
) -> bytes:
    """Return what git prints, and nothing where it refuses, or git or a repository is missing."""
    done = _git(root, *arguments, environ=environ, content=content)
    return done.stdout if done is not None and done.returncode == 0 else b""


def _refusal(done: "subprocess.CompletedProcess[bytes] | None") -> str:
    """Return in git's own words why it refused; nothing where it did not, or is missing."""
    if done is None or done.returncode == 0:
        return ""
    return done.stderr.decode("utf-8", "replace").strip().partition("\n")[0] or f"exit code {done.returncode}"


def _git(
    root: Path, *arguments: str, environ: Mapping[str, str] = _AS_IT_IS, content: bytes | None = None
) -> "subprocess.CompletedProcess[bytes] | None":
    """Run git and return what became of it; None where it is missing."""
    try:
        return subprocess.run(  # noqa: S603 (a list, never a shell)
            ["git", "--no-optional-locks", "-c", "core.quotePath=false", *arguments],  # noqa: S607 (the user's)
            cwd=root,
            env={name: value for name, value in os.environ.items() if name not in GIT_POINTERS}
            | dict(environ),
            input=content,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return None


def _cpu_name() -> str:
    return _cpu_info("model name") or platform.processor()


def _cpu_features() -> tuple[str, ...]:
    words = (_cpu_info("flags") or _cpu_info("Features")).split()
    return tuple(sorted({word for word in words if word.startswith(_VECTOR)}))


def _cpu_info(field: str) -> str:
    """Return what Linux says of the first processor; nothing where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
