"""The versions of the packages that bear on each stage's results, where DVC looks for what changed.

DVC sees files. So the versions stand in a small file of the project which the stages in dvc.yaml name among
their params; another version is then a reason to run like any other setting, and dvc.lock keeps the old one.
"""

import importlib.metadata
import re
import sys

import modelbook
from modelbook.config import Config
from modelbook.features.code import USER_CODE, imported_modules
from modelbook.files import write_whole
from modelbook.models.estimators import distributions
from modelbook.pipeline import layout

_HEADER = """\
# The packages that bear on each stage's results. `modelbook run` brings this up to date: a stage runs again
# when one of its packages has another version. Commit it together with dvc.lock.
"""
_FITTING = ("numpy", "pandas", "polars", "scikit-learn", "scipy", "skops")
_STAGES = {"ingest": ("polars",), "validate": ("polars",), "preprocess": _FITTING, "train": _FITTING}
_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE)
_KNOWN_MODULES = frozenset({"modelbook", "numpy", "pandas", "polars", "scipy", "sklearn", "skops"})


def note_packages(config: Config) -> None:
    """Bring the project's file of package versions up to what is installed, where its dvc.yaml names one.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    if not looks_at_packages(config):
        return
    path, content = config.path(layout.PACKAGES), packages_text(config).encode()
    if not path.is_file() or path.read_bytes() != content:
        write_whole(path, content)


def looks_at_packages(config: Config) -> bool:
    """Return whether a project's dvc.yaml names the file; one that an older Modelbook made does not."""
    pipeline = config.path(layout.PIPELINE)
    return pipeline.is_file() and layout.PACKAGES.encode() in pipeline.read_bytes()


def packages_text(config: Config) -> str:
    """Return what the file is to say: for each stage its packages, with the versions installed now."""
    sections = [_section(stage, versions) for stage, versions in package_versions(config).items()]
    return _HEADER + "".join(sections)


def package_versions(config: Config) -> dict[str, dict[str, str]]:
    """Return the installed versions of the packages that bear on the results, by stage and name.

    Those are Modelbook itself, the libraries that a stage computes with, for `train` that of the chosen
    algorithm, and what features.py imports. Packages that only draw, store or drive are left out.

    Example:
        >>> from modelbook.config import load_config
        >>> settings = {"model": {"algorithm": "lightgbm"}}
        >>> "lightgbm" in package_versions(load_config(settings))["train"]
        True
    """
    users = _imported_by(config)
    further = {"preprocess": users, "train": {*users, *distributions(config)}}
    stages = {stage: {"modelbook", *names, *further.get(stage, ())} for stage, names in _STAGES.items()}
    versions = {name: _version(name) for name in set().union(*stages.values()) - {"modelbook"}}
    versions["modelbook"] = modelbook.__version__
    return {
        stage: {name: versions[name] for name in sorted(names) if versions[name]}
        for stage, names in stages.items()
    }


def _version(name: str) -> str:
    """Return a package's version as it stands in its metadata, and nothing where it is not installed."""
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
    # Parsing all of it, as `importlib.metadata.version` does, takes five times as long.
    found = _VERSION.search(package.read_text("METADATA") or "")
    return found[1] if found else package.version


def _imported_by(config: Config) -> set[str]:
    """Return the packages that features.py imports; what is wrong with it is for its stages to say."""
    path = config.path(USER_CODE)
    try:
        modules = imported_modules(path) - _KNOWN_MODULES - sys.stdlib_module_names
    except (OSError, SyntaxError, ValueError):
        return set()
    if all(map(_version, modules)):
        return modules
    providers = importlib.metadata.packages_distributions()  # slow, and needed for names like cv2 alone
    return {
        name for module in modules for name in ([module] if _version(module) else providers.get(module, []))
    }


def _section(stage: str, versions: dict[str, str]) -> str:
    # In quotes: 1.10 would be a number.
    return "".join([f"{stage}:\n", *(f'  {name}: "{version}"\n' for name, version in versions.items())])
