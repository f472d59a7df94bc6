"""The command `models`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelbook.cli.console import Console
from modelbook.errors import NotFoundError

if TYPE_CHECKING:
    from modelbook.pipeline.lifecycle.version import VersionDetail
    from modelbook.registry.listing import VersionSummary

_COLUMNS = ("version", "local", "stage", "aliases", "gate")
_FURTHER = ("age", "size", "commit", "run")
_SHOWN = {"regression": ("rmse", "r2_score"), "classification": ("accuracy", "f1")}


def models(
    context: typer.Context,
    ref: Annotated[
        str | None, typer.Argument(metavar="[NAME | NAME/VERSION]", help="A model, or one version in full.")
    ] = None,
) -> None:
    """List registered versions, or show one in full."""
    from modelbook.config import load_config
    from modelbook.pipeline.lifecycle.version import describe_version
    from modelbook.registry.listing import list_versions

    console: Console = context.obj
    config = load_config(Path.cwd())
    if ref and "/" in ref:
        _show(console, describe_version(config, ref))
        return
    found = list_versions(config, ref)
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
    console.table(_COLUMNS + names + _FURTHER, rows)


def _show(console: Console, detail: "VersionDetail") -> None:
    lineage = detail.lineage.model_dump(mode="json") if detail.lineage else None
    content = detail.summary.model_dump(mode="json")
    checks = [check.model_dump(mode="json") for check in detail.checks]
    console.document(content | {"checks": checks, "lineage": lineage})
    metrics = content.pop("metrics")
    content["aliases"] = ", ".join(detail.summary.aliases)
    rows = [(key, "-" if value in (None, "") else value) for key, value in content.items()]
    console.table(("", ""), [*rows, *metrics.items(), *_origin(detail)])


def _origin(detail: "VersionDetail") -> list[tuple[str, object]]:
    """Return the lines that say what a version came from."""
    checks = [(check.name, check.answer) for check in detail.checks]
    if (lineage := detail.lineage) is None:
        return [*checks, ("lineage", "nothing is on record")]
    changes = "with changes that were not committed" if lineage.code.is_dirty else "as committed"
    return [
        *checks,
        ("algorithm", lineage.algorithm),
        ("target", lineage.target),
        ("inputs", ", ".join(column.name for column in lineage.inputs)),
        ("code", f"{lineage.code.branch or '-'}, {changes}"),
        *((version.path, f"md5 {version.md5}") for version in lineage.data),
        ("settings", f"sha256 {lineage.config_sha256}"),
        ("packages", f"sha256 {lineage.environment.sha256}, Python {lineage.environment.python}"),
        ("seeds", ", ".join(f"{name} {seed}" for name, seed in lineage.seeds.items())),
        ("command", lineage.command),
        ("host", lineage.host),
    ]


def _named(version: "VersionSummary") -> str:
    if version.is_waiting:
        return f"{version.name} (waiting)"
    return f"{version.name}/{version.version}" if version.version else version.name


def _row(version: "VersionSummary", names: tuple[str, ...]) -> tuple[str, ...]:
    from modelbook.logs import format_age, format_number, now

    values = (version.metrics.get(name) for name in names)
    return (
        _named(version),
        version.local_version or "-",
        version.stage,
        ", ".join(version.aliases) or "-",
        version.gate or "-",
        *("-" if value is None else format_number(value) for value in values),
        format_age(now() - version.created_at),
        f"{version.size_bytes / 1e6:.1f} MB" if version.size_bytes else "-",
        (version.commit or "-")[:8],
        (version.run_id or "-")[:8],
    )
