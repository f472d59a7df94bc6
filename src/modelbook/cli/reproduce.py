"""The command `reproduce`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelbook.cli.console import Console
from modelbook.errors import NotReproducedError

if TYPE_CHECKING:
    from modelbook.pipeline.reproduction.reproduce import Reproduction
    from modelbook.pipeline.reproduction.verdict import Check

_COLOURS = {"identical": "green", "equivalent": "yellow", "different": "red"}
_LONGEST = 32


def reproduce(
    context: typer.Context,
    ref: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run's id, its beginning, or latest; models:/NAME/VERSION or models:/NAME@ALIAS.",
        ),
    ],
    *,
    env: Annotated[
        Literal["current", "recorded"],
        typer.Option(
            help="With the packages installed here, or those recorded, which uv brings: pip install uv."
        ),
    ] = "current",
) -> None:
    """Make a recorded run again from its commit, data and settings, and compare."""
    from modelbook.pipeline.reproduction.reproduce import reproduce_run
    from modelbook.pipeline.run import disable_telemetry

    console: Console = context.obj
    disable_telemetry()
    result = reproduce_run(Path.cwd(), ref, use_recorded_environment=env == "recorded")
    console.document(result.model_dump(mode="json"))
    _print(console, result)
    if result.verdict == "different":
        raise typer.Exit(NotReproducedError.exit_code)


def _print(console: Console, result: "Reproduction") -> None:
    from modelbook.pipeline.reproduction.verdict import TOLERANCE

    console.line()
    console.table(("what", "recorded", "reproduced", "equal"), [_row(check) for check in result.checks])
    console.line()
    for cause in result.causes:
        console.line(f"differs  {cause}")
    stated = f": within a relative tolerance of {TOLERANCE:g}" if result.verdict == "equivalent" else ""
    console.line(f"verdict  {result.verdict}{stated}", style=_COLOURS[result.verdict])
    console.line(f"run      {result.reproduced_run_id} makes {result.run_id} again")


def _row(check: "Check") -> tuple[str, ...]:
    return (check.name, _shown(check.recorded), _shown(check.reproduced), "yes" if check.equal else "NO")


def _shown(value: float | str | None) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:12]}…"
