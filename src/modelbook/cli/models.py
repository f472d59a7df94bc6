"""The command `models`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelbook.cli.console import Console
from modelbook.errors import NotFoundError

if TYPE_CHECKING:
    from modelbook.registry.listing import VersionSummary

_SHOWN = {"regression": ("rmse", "r2_score"), "classification": ("accuracy", "f1")}


def models(
    context: typer.Context,
    ref: Annotated[
        str | None, typer.Argument(metavar="[NAME | NAME/VERSION]", help="A model, or one version in full.")
    ] = None,
) -> None:
    """List registered versions, or show one in full."""
    from modelbook.config import load_config
    from modelbook.registry.listing import find_version, list_versions

    console: Console = context.obj
    config = load_config(Path.cwd())
    if ref and "/" in ref:
        _show(console, find_version(config, ref))
        return
    found = list_versions(config, ref)
    if not found and ref:
        raise NotFoundError(
            "there is no such model", where=ref, hint="`modelbook models` lists what there is"
        )
    console.document([version.model_dump(mode="json") for version in found])
    if not found and ref:
        raise NotFoundError(
            "there is no such model", where=ref, hint="`modelbook models` lists what there is"
        )
    if not found:
        console.line("no versions yet: `modelbook run` registers the first that passes its gate")
        return
    names = _SHOWN[config.project.task]
    rows = [_row(version, names) for version in found]
    console.table(("version", "local", "stage", "gate", *names, "created", "size", "run"), rows)


def _show(console: Console, version: "VersionSummary") -> None:
    content = version.model_dump(mode="json")
    console.document(content)
    metrics = content.pop("metrics")
    rows = [(key, "-" if value in (None, []) else value) for key, value in content.items()]
    console.table(("", ""), [*rows, *metrics.items()])


def _named(version: "VersionSummary") -> str:
    if version.is_waiting:
        return f"{version.name} (waiting)"
    return f"{version.name}/{version.version}" if version.version else version.name


def _row(version: "VersionSummary", names: tuple[str, ...]) -> tuple[str, ...]:
    from modelbook.logs import format_number

    values = (version.metrics.get(name) for name in names)
    return (
        _named(version),
        version.local_version or "-",
        version.stage,
        version.gate or "-",
        *("-" if value is None else format_number(value) for value in values),
        version.created_at.astimezone().strftime("%Y-%m-%d %H:%M"),
        f"{version.size_bytes / 1e6:.1f} MB" if version.size_bytes else "-",
        (version.run_id or "-")[:8],
    )
