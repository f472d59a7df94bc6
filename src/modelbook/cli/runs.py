"""The commands `runs` and `report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelbook.cli.compare import Export
from modelbook.cli.console import Console

if TYPE_CHECKING:
    from modelbook.config import Config
    from modelbook.tracking.summary import RunSummary

_AT_MOST = 20
_SHOWN = {"regression": ("rmse", "mae", "r2_score"), "classification": ("accuracy", "f1", "roc_auc")}


def runs(
    context: typer.Context,
    *,
    sort: Annotated[
        str | None,
        typer.Option(
            help="Order by, as in metrics.test_rmse or 'metrics.test_rmse DESC'; newest first without."
        ),
    ] = None,
    query: Annotated[str, typer.Option("--filter", help="Which, as in \"params.x = '300'\".")] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="The most to show: 20, or to export: all of them.")
    ] = None,
    export: Export = None,
) -> None:
    """List the recorded runs."""
    from modelbook.config import load_config
    from modelbook.tracking.runs import list_runs

    console: Console = context.obj
    config = load_config(Path.cwd())
    found = list_runs(config, sort=sort, query=query, limit=limit if limit or export else _AT_MOST)
    if export is not None:
        from modelbook.pipeline.export import export_runs

        export_runs(found, export)
    console.document([run.model_dump(mode="json") for run in found])
    if not found:
        console.line("no runs yet: `modelbook run` makes the first")
        return
    names = _SHOWN[config.project.task]
    rows = [_row(run, names) for run in found]
    console.table(("run", "name", "started", "status", "gate", *names, "commit"), rows)


def report(
    context: typer.Context,
    ref: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, its beginning, or latest.")
    ] = "latest",
) -> None:
    """Say where a run's report is, fetching it if need be."""
    from modelbook.config import load_config
    from modelbook.tracking.runs import fetch_report, find_run

    console: Console = context.obj
    config = load_config(Path.cwd())
    run = find_run(config, ref)
    path = fetch_report(config, run, _destination(config, run))
    console.document({"run_id": run.run_id, "report": str(path)})
    console.line(str(path))


def _destination(config: "Config", run: "RunSummary") -> Path:
    return config.path("reports") / f"report_{run.run_id}.html"


def _row(run: "RunSummary", names: tuple[str, ...]) -> tuple[str, ...]:
    from modelbook.logs import format_number

    values = (run.metrics.get(f"test_{name}") for name in names)
    commit = f"{run.commit[:8]}{'+' if run.is_dirty else ''}" if run.commit else "-"
    return (
        run.run_id[:8],
        run.run_name,
        run.started_at.astimezone().strftime("%Y-%m-%d %H:%M"),
        run.status.lower() + (", waiting" if run.recorded == "outbox" else ""),
        run.gate or "-",
        *("-" if value is None else format_number(value) for value in values),
        commit,
    )
