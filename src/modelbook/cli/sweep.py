"""The command `sweep`."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelbook.cli.console import Console
from modelbook.cli.run import split_assignment
from modelbook.errors import UsageError

if TYPE_CHECKING:
    from modelbook.pipeline.sweeps.records import SweepOutcome, SweepTrial
    from modelbook.pipeline.sweeps.sweep import SweepPlan

_SHOWN = 10


def sweep(
    context: typer.Context,
    *,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="KEY=a,b,c", help="Try every value, with every one of other --grid."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, help="Try N points that TPE chooses.")
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space", metavar="FILE", help="Choose from this YAML file; else from a default space."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="NAME", help="Judge by it: rmse or accuracy by default.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0, help="Stop after so many seconds.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another run holds the project.")] = False,
) -> None:
    """Try many settings, record each trial, say which is best; the same command goes on after a stop."""
    from modelbook.pipeline.run import disable_telemetry
    from modelbook.pipeline.sweeps.sweep import run_sweep

    console: Console = context.obj
    disable_telemetry()
    plan = _plan(grid or [], trials, space, metric=metric, timeout_s=timeout)
    with redirect_stdout(sys.stderr):  # whatever libraries print is no result
        outcome = run_sweep(Path.cwd(), plan, is_waiting=wait)
    console.document(outcome.model_dump(mode="json"))
    _print(console, outcome)


def _plan(
    grid: list[str], trials: int | None, space: Path | None, *, metric: str | None, timeout_s: float | None
) -> "SweepPlan":
    from modelbook.pipeline.sweeps.space import parse_grid, read_space
    from modelbook.pipeline.sweeps.sweep import SweepPlan

    if bool(grid) == (trials is not None):
        raise UsageError(
            "a sweep takes --grid or --trials",
            got="both" if grid else "neither",
            expected="--grid KEY=a,b,c for every point of a grid, or --trials N for points that TPE chooses",
        )
    if space is not None and trials is None:
        raise UsageError("--space goes with --trials", hint="say how many points of it to try: --trials 40")
    if grid:
        assignments = [split_assignment(word, option="--grid", example="split.seed=1,2,3") for word in grid]
        return SweepPlan(space=parse_grid(assignments), metric=metric, timeout_s=timeout_s)
    return SweepPlan(
        space=None if space is None else read_space(space), trials=trials, metric=metric, timeout_s=timeout_s
    )


def _print(console: Console, outcome: "SweepOutcome") -> None:
    from modelbook.logs import format_number

    console.line()
    _print_trials(console, outcome)
    console.line()
    best = outcome.best_trial
    console.line(
        f"best     trial {best.number}: {outcome.metric} {format_number(best.score or 0.0)}", style="green"
    )
    console.line(f"sure     {outcome.sentence}")
    if outcome.chosen_by == "test":
        console.line(
            "chosen   by the test rows, which flatters it; training.cv_folds has it chosen by others"
        )
    if not outcome.is_finished:
        console.line(
            f"stopped  after {len(outcome.trials)} of {outcome.asked} trials: the same command goes on"
        )
    console.line(f"sweep    {outcome.run_name}  {outcome.run_id}")
    console.line(f"run      {best.run_name}  {best.run_id}")
    console.line(f"report   {console.path(outcome.report)}")
    console.line(f"next     {console.command(outcome.command)}  makes it the project's model", style="green")


def _print_trials(console: Console, outcome: "SweepOutcome") -> None:
    from modelbook.pipeline.sweeps.space import short_names

    names = short_names(best_settings := outcome.best_trial.settings)
    columns = ("trial", *(names[key] for key in best_settings), outcome.metric, "time", "")
    trials = outcome.in_order
    console.table(columns, [_row(trial, outcome) for trial in trials[:_SHOWN]])
    if len(trials) > _SHOWN:
        console.line(f"{len(trials) - _SHOWN} further trials are in the report")


def _row(trial: "SweepTrial", outcome: "SweepOutcome") -> tuple[str, ...]:
    from modelbook.config import spell
    from modelbook.logs import format_number

    said = {"complete": "", "pruned": "given up", "failed": trial.error or "failed"}[trial.state]
    return (
        str(trial.number),
        *(spell(value) for value in trial.settings.values()),
        "-" if trial.score is None else format_number(trial.score),
        f"{trial.seconds:.1f} s",
        "best" if trial.number == outcome.best else said,
    )
