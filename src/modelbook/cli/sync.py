"""The command `sync`."""

from pathlib import Path

import typer

from modelbook.cli.console import Console

_PATIENCE_S = 30.0


def sync(context: typer.Context) -> None:
    """Deliver what was recorded while the tracking server was away."""
    from modelbook.config import load_config
    from modelbook.pipeline.run import disable_telemetry
    from modelbook.pipeline.syncing import sync as deliver

    console: Console = context.obj
    disable_telemetry()
    report, error = deliver(load_config(Path.cwd()), patience_s=_PATIENCE_S)
    content = report.model_dump(mode="json")
    console.document(content | ({"error": error.as_dict()} if error else {}))
    for run in report.delivered:
        numbers = ", ".join(f"{version.name}/{version.version}" for version in run.versions)
        console.line(f"delivered  {run.run_name}  {run.run_id}  {numbers}".rstrip())
        if run.incomplete:
            console.line(f"incomplete {run.run_name}  stands there as FAILED: {run.incomplete}")
    for waiting in report.waiting:
        console.line(f"waiting    {waiting.run_name or '?'}  {waiting.uid}  {waiting.why}")
    if error is not None:
        if console.is_json:
            raise typer.Exit(error.exit_code)
        raise error
    if not report.delivered and not report.waiting:
        console.line("nothing is waiting: everything that was recorded is in the tracking store")
