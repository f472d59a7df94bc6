"""Why a stage has to run: what differs from what dvc.lock holds of its last time."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from modelbook.config import Config, spell
from modelbook.files import file_hash
from modelbook.pipeline import layout

_LONGEST_VALUE = 60
_HASH_LENGTH = 8


_NOTHING: Mapping[str, Any] = MappingProxyType({})


def reasons(
    stage: Any, *, made_by: Mapping[str, str] = _NOTHING, brought: Mapping[str, Any] = _NOTHING
) -> tuple[str, ...]:
    """Return why DVC would run a stage, one reason each, with old and new value where there are two.

    Args:
        stage: A stage of DVC's, loaded with what dvc.lock says of it.
        made_by: Absolute paths that are going to be made anew, and the stage that makes each: what lies
            there now says nothing.
        brought: Absolute paths of files that DVC brings where they are missing, and the hash of each.
    """
    from dvc.dependency.param import ParamsDependency

    if stage.is_callback or stage.always_changed:
        return ("it runs every time",)
    if not any(dependency.hash_info for dependency in stage.deps):
        return ("it has not run yet",)
    found = ["its command changed"] if stage.changed_stage() else []
    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            found += _changed_settings(dependency)
        elif maker := made_by.get(dependency.fs_path):
            found.append(f"its input {dependency} is made anew by {maker}")
        elif not dependency.exists and brought.get(dependency.fs_path) == dependency.hash_info:
            continue
        else:
            found += _changed_file(dependency)
    for output in stage.outs:
        found += [f"its output {reason}" for reason in _changed_file(output)]
    return tuple(found)


def is_source_changed(config: Config) -> bool:
    """Return whether the source is a file of its own that holds something else than the project's copy of it.

    One that cannot be read counts as such: whoever copies it says why.
    """
    source, raw = config.path(config.data.source), config.path(config.data.raw)
    if "://" in config.data.source or source == raw or not source.exists():
        return False
    try:
        return not raw.is_file() or file_hash(source) != file_hash(raw)
    except OSError:
        return True


def _changed_file(file: Any) -> list[str]:
    """Return what became of an input or output, in our words for what DVC says of it."""
    words = {"deleted": "is missing", "not in cache": "is not in DVC's cache", "new": "is new"}
    return [
        f"{path} {_hashes(file) if state == 'modified' else words.get(state, f'is {state}')}"
        for path, state in file.status().items()
    ]


def _hashes(file: Any) -> str:
    old, new = (str(value.value)[:_HASH_LENGTH] for value in (file.hash_info, file.get_hash()))
    return f"changed: {old} → {new}"


def _changed_settings(dependency: Any) -> list[str]:
    old = dependency.hash_info.value or {}
    new = dependency.read_params()
    changed = [key for key in dependency.params if old.get(key) != new.get(key)]
    if dependency.def_path == layout.PACKAGES:
        return [line for key in changed for line in _changed_packages(old.get(key), new.get(key))]
    return [line for key in changed for line in _differences(key, old.get(key), new.get(key))]


def _changed_packages(old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> list[str]:
    before, now = old or {}, new or {}
    unknown = "not needed" if before else "not noted"
    return [
        f"{name} {before.get(name, unknown)} → {now.get(name, 'not needed')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _differences(key: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
            for line in _differences(f"{key}.{name}", old.get(name), new.get(name))
        ]
    return [f"{key}: {_short(old)} → {_short(new)}"]


def _short(value: Any) -> str:
    text = spell(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
