"""The commands `ui` and `doctor`."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from modelbook.cli.console import Console


def ui(
    context: typer.Context,
    *,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen at.")] = 5002,
) -> None:
    """Show the runs and models on MLflow's own page."""
    from modelbook.config import load_config
    from modelbook.tracking.page import mlflow_page

    console: Console = context.obj
    console.note("starting MLflow's page, which takes some 10 seconds")
    with mlflow_page(load_config(Path.cwd()), host=host, port=port) as address:
        console.document({"address": address})
        console.line(f"MLflow's page is at {address}; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            signal.pause()


def doctor(
    context: typer.Context,
    *,
    team: Annotated[bool, typer.Option("--team", help="Look at what others can reach, too.")] = False,
) -> None:
    """Say what a run relies on, what is amiss, and what to do."""
    from modelbook.pipeline.doctor import examine

    console: Console = context.obj
    findings = examine(Path.cwd(), is_team=team)
    console.document([finding.model_dump() for finding in findings])
    rows = [
        (finding.name, "ok" if finding.is_well else "AMISS", finding.detail, finding.hint)
        for finding in findings
    ]
    console.table(("what", "state", "found", "what to do"), rows)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(1)
