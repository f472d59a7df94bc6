"""The command `compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelbook.cli.console import Console

if TYPE_CHECKING:
    from modelbook.evaluation.difference import Difference
    from modelbook.pipeline.compare import ComparedRun, RunComparison


def _known_form(path: Path | None) -> Path | None:
    """Refuse a file of no known form before anything is looked up for it."""
    if path is not None:
        from modelbook.pipeline.export import check_form

        check_form(path)
    return path


def _known_comparison(path: Path | None) -> Path | None:
    if path is not None:
        from modelbook.pipeline.export import check_form

        check_form(path, is_comparison=True)
    return path


Export = Annotated[
    Path | None,
    typer.Option(help="Write FILE.csv, FILE.json or FILE.html.", metavar="FILE", callback=_known_form),
]


def compare(
    context: typer.Context,
    refs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...",
            help="Two or more, the first being the measure: a run's id, its beginning, latest, current, "
            "models:/NAME/VERSION or models:/NAME@ALIAS.",
        ),
    ],
    *,
    or_alone: Annotated[
        bool, typer.Option("--or-alone", help="Show the others alone if there is no first one yet.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="Write FILE.csv, .json, .html or .md.", metavar="FILE", callback=_known_comparison),
    ] = None,
) -> None:
    """Hold runs against the first: what differs, and how sure the difference in their worth is."""
    from modelbook.pipeline.compare import compare_runs
    from modelbook.pipeline.export import export_comparison

    console: Console = context.obj
    comparison = compare_runs(Path.cwd(), refs, is_alone_well=or_alone)
    if export is not None:
        export_comparison(comparison, export)
    console.document(comparison.record.model_dump(mode="json"))
    _print(console, comparison.record)
    if export is not None:
        console.line(f"written  {export}")


def _print(console: Console, record: "RunComparison") -> None:
    rows = [row for run in record.runs for row in _rows(run)]
    console.table(("run", "metric", "value", "difference", "95 % interval", ""), rows)
    console.line()
    names = [run.run_id[:8] for run in record.runs]
    for part, contrasts in record.parts.items():
        for line in contrasts:
            values = [f"{name} {value or '-'}" for name, value in zip(names, line.values, strict=True)]
            console.line(f"{part}: {line.name}: {', '.join(values)}")
        if not contrasts:
            console.line(f"{part}: the same")
    for run in record.runs:
        if run.incomparable:
            console.line(f"{run.run_id[:8]} is not comparable: {run.incomparable}", style="yellow")


def _rows(run: "ComparedRun") -> list[tuple[str, ...]]:
    from modelbook.logs import format_number

    found = {difference.metric: difference for difference in run.differences}
    return [
        (run.run_id[:8], name, format_number(value), *_held(found.get(name)))
        for name, value in run.metrics.items()
    ]


def _held(found: "Difference | None") -> tuple[str, str, str]:
    from modelbook.logs import format_number

    if found is None or found.lower is None or found.upper is None:
        return ("", "", "")
    interval = f"{format_number(found.lower)} to {format_number(found.upper)}"
    return (format_number(found.difference), interval, found.judgement)
