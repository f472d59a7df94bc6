"""The command `init`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from modelbook.cli.console import Console

if TYPE_CHECKING:
    from modelbook.scaffold.project import NewProject


def init(
    context: typer.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The project's folder, new or empty.")],
    *,
    example: Annotated[
        str | None, typer.Option(metavar="NAME", help="Begin with an example: housing or classification.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Begin with a table: CSV, TSV, JSON lines (also .gz), Parquet, an http(s) or database URL.",
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to predict.")] = None,
    task: Annotated[
        Literal["auto", "regression", "classification"], typer.Option(help="What to predict it as.")
    ] = "auto",
    query: Annotated[str | None, typer.Option(metavar="SQL", help="The query, for a database URL.")] = None,
    ci: Annotated[
        Literal["github"] | None,
        typer.Option(help="A workflow that runs, compares and promotes on each change."),
    ] = None,
) -> None:
    """Lay a project down: settings, pipeline, data, git and DVC."""
    from modelbook.scaffold.project import create_project
    from modelbook.scaffold.source import choose_source

    console: Console = context.obj
    source = choose_source(example=example, data=data, target=target, query=query)
    project = create_project(Path(directory), source, task=task, ci=ci)
    # From another folder (-C) the path as given leads elsewhere.
    is_here = context.find_root().params.get("directory") == "."
    shown = directory if is_here else str(project.root)
    console.document(_document(project, shown))
    _print(console, project, shown)


def _document(project: "NewProject", directory: str) -> dict[str, Any]:
    profile = project.profile
    return {
        "project": str(project.root),
        "config": str(project.root / "config/config.yaml"),
        "source": project.source,
        "raw": project.raw,
        "rows": profile.rows,
        "target": profile.target,
        "task": profile.task,
        "task_why": profile.why,
        "split": profile.split,
        "columns": [
            {
                "name": column.name,
                "type": column.rule.type if column.rule else None,
                "role": column.role,
                "why": column.why,
                "seen": column.seen,
            }
            for column in profile.columns
        ],
        "ratios": [{"numerator": above, "denominator": below} for above, below in profile.ratios],
        "git": project.git,
        "notes": project.notes,
        "next": _next(directory),
        "then": _then(project, directory),
    }


def _print(console: Console, project: "NewProject", directory: str) -> None:
    profile = project.profile
    rows = [
        (column.name, column.rule.type if column.rule else "", column.role, column.why, column.seen)
        for column in profile.columns
    ]
    console.table(("column", "type", "role", "why", "seen"), rows)
    console.line()
    console.line(f"task      {profile.task}: {profile.why}")
    console.line(f"table     {project.raw}: {profile.rows:,} rows, tracked by DVC")
    for above, below in profile.ratios:
        console.line(f"ratio     {above} per {below}: counts that rise together")
    console.line(f"settings  {Path(directory) / 'config/config.yaml'}: every decision above, to change")
    for note in project.notes:
        console.line(f"note      {note}", style="yellow")
    console.line(f"next      {_next(directory)}", style="green")
    if then := _then(project, directory):
        console.line(f"then      {then}", style="green")


def _next(directory: str) -> str:
    import shlex

    return "modelbook run" if Path(directory) == Path() else f"modelbook -C {shlex.quote(directory)} run"


def _then(project: "NewProject", directory: str) -> str | None:
    """Return how to commit what the first run is going to make; None without git."""
    from modelbook.scaffold.repository import RUN_FILES, GitPlace, commit_command

    if project.git is GitPlace.NONE:
        return None
    return commit_command(*RUN_FILES, message="Train a model", folder=Path(directory))
