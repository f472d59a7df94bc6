"""The command `gc`."""

from pathlib import Path
from typing import Annotated

import typer

from modelbook.cli.console import Console


def gc(
    context: typer.Context,
    *,
    keep: Annotated[
        int, typer.Option(min=0, help="How many of the newest versions and exports stay in any case.")
    ] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove old local copies, bundles and rejected models, never a version that an alias names."""
    from modelbook.pipeline.lifecycle.clearing import clear
    from modelbook.pipeline.run import disable_telemetry

    console: Console = context.obj
    disable_telemetry()
    done = clear(Path.cwd(), keep=keep, is_dry=dry_run)
    console.document(done.model_dump(mode="json") | {"freed_bytes": done.freed_bytes})
    rows = [(one.kind, one.name, f"{one.size_bytes / 1e6:.1f} MB") for one in done.removed]
    if rows:
        console.table(("would go" if dry_run else "removed", "name", "frees"), rows)
    for name, reason in done.kept.items():
        console.line(f"kept     {name}: {reason}")
    console.line(f"{'would free' if dry_run else 'freed'}  {done.freed_bytes / 1e6:.1f} MB", style="green")
