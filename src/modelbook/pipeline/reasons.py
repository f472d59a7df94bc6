"""Why a stage has to run: what differs from what dvc.lock holds of its last time."""

from typing import Any

from modelbook.config import spell

_LONGEST_VALUE = 60


def reasons(stage: Any) -> tuple[str, ...]:
    """Return why DVC would run a stage, one reason each, with old and new value where there are two.

    Args:
        stage: A stage of DVC's, loaded with what dvc.lock says of it.
    """
    from dvc.dependency.param import ParamsDependency

    if not any(dependency.hash_info for dependency in stage.deps):
        return ("it has not run yet",)
    found = ["its command changed"] if stage.changed_stage() else []
    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            found += _changed_settings(dependency)
        else:
            found += [f"{path} is {_past(state)}" for path, state in dependency.status().items()]
    for output in stage.outs:
        found += [f"its output {path} is {_past(state)}" for path, state in output.status().items()]
    return tuple(found)


def _changed_settings(dependency: Any) -> list[str]:
    old = dependency.hash_info.value or {}
    new = dependency.read_params()
    return [
        line
        for key in dependency.params
        if old.get(key) != new.get(key)
        for line in _differences(key, old.get(key), new.get(key))
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


def _past(state: object) -> str:
    """Return DVC's word for a state in ours."""
    ours = {"modified": "changed", "deleted": "missing", "not in cache": "not in DVC's cache"}
    return ours.get(str(state), str(state))
