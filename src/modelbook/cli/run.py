"""The commands `run` and `stage`."""

import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelbook.cli.console import Console
from modelbook.errors import GateRejectedError, UsageError

if TYPE_CHECKING:
    from modelbook.pipeline.run import RunOutcome

# A name in double quotes may hold a dot and an equals sign, as a column's may.
_ASSIGNMENT = re.compile(r'((?:"[^"]*"|[^"=])+)=(.*)', re.DOTALL)
_COLOURS = {"passed": "green", "rejected": "red"}


def run(
    context: typer.Context,
    *,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Write a setting into config.yaml.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run every stage, changed or not.")] = False,
    no_dvc: Annotated[bool, typer.Option("--no-dvc", help="Run every stage here, without DVC.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Read a URL or database again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another run holds the project.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what would run and why, and run nothing.")
    ] = False,
) -> None:
    """Run what changed, record it, register what passes."""
    from modelbook.pipeline.run import disable_telemetry, run_pipeline

    console: Console = context.obj
    disable_telemetry()
    settings = _parsed(assignments or [])
    if explain:
        _explain(console, settings, use_dvc=not no_dvc, force=force, refresh=refresh)
        return
    with redirect_stdout(sys.stderr):  # whatever the user's own code prints is no result
        outcome = run_pipeline(
            Path.cwd(), settings=settings, use_dvc=not no_dvc, force=force, refresh=refresh, is_waiting=wait
        )
    console.document(outcome.model_dump(mode="json"))
    _print(console, outcome)
    if not outcome.gate.passed:
        raise typer.Exit(GateRejectedError.exit_code)


def stage(context: typer.Context, name: Annotated[str, typer.Argument(help="The stage.")]) -> None:
    """Run one stage, as dvc.yaml asks for."""
    from modelbook.config import load_config
    from modelbook.pipeline.packages import note_packages
    from modelbook.pipeline.run import disable_telemetry
    from modelbook.pipeline.stages import refuse_changed_settings, run_stage
    from modelbook.pipeline.starter import end_with_starter
    from modelbook.pipeline.syncing import deliver_before

    del context
    end_with_starter()
    disable_telemetry()
    config = load_config(Path.cwd())
    deliver_before(name, config)
    note_packages(config)
    run_stage(name, config)
    refuse_changed_settings(config, stage=name)


def _explain(
    console: Console, settings: dict[str, str], *, use_dvc: bool, force: bool, refresh: bool
) -> None:
    from modelbook.pipeline.explain import explain_run

    if refresh:
        raise UsageError(
            "--explain and --refresh do not go together",
            expected="one of them: what a source holds now is known once it was read",
            hint="leave one of them out",
        )
    plans = explain_run(Path.cwd(), settings=settings, use_dvc=use_dvc, force=force)
    console.document({"stages": [plan.model_dump(mode="json") for plan in plans]})
    rows = [
        (plan.name if number == 0 else "", plan.prospect if number == 0 else "", reason)
        for plan in plans
        for number, reason in enumerate(plan.why or ("nothing changed",))
    ]
    console.table(("stage", "would", "why"), rows)


def _parsed(assignments: list[str]) -> dict[str, str]:
    return dict(split_assignment(word, option="--set", example="training.seed=7") for word in assignments)


def split_assignment(word: str, *, option: str, example: str) -> tuple[str, str]:
    """Return the key and the value of an assignment.

    Raises:
        UsageError: It is none.
    """
    found = _ASSIGNMENT.fullmatch(word)
    if not found:
        raise UsageError(f"{option} takes KEY=VALUE", got=word, expected=example)
    return found[1], found[2]


def _print(console: Console, outcome: "RunOutcome") -> None:
    from modelbook.logs import format_number

    console.line()
    rows = [
        (stage.name, stage.status, f"{stage.seconds:.1f} s", "; ".join(stage.why)) for stage in outcome.stages
    ]
    console.table(("stage", "status", "time", "why"), rows)
    console.line()
    names = sorted({name.split("_", 1)[1] for name in outcome.metrics if name.startswith("test_")})
    console.table(
        ("metric", "test", "train"),
        [
            (name, *(format_number(outcome.metrics[f"{part}_{name}"]) for part in ("test", "train")))
            for name in names
        ],
    )
    console.line()
    console.line(f"run      {outcome.run_name}  {outcome.run_id}")
    _print_gate(console, outcome)
    _print_version(console, outcome)
    console.line(f"report   {console.path('reports/report.html')}")
    console.line(f"next     {console.command('ui')}  shows the runs on MLflow's own page", style="green")


def _print_gate(console: Console, outcome: "RunOutcome") -> None:
    gate = outcome.gate
    is_asked = any(check.kind != "smoke_test" for check in gate.checks)
    unjudged = sum(check.passed is None for check in gate.checks)
    why = (
        "" if is_asked else ": no thresholds are set; evaluation.thresholds in config/config.yaml takes them"
    )
    why += f", {unjudged} of {len(gate.checks)} checks not judged" if unjudged else ""
    console.line(f"gate     {gate.verdict}{why}", style=_COLOURS.get(gate.verdict, "yellow"))


def _print_version(console: Console, outcome: "RunOutcome") -> None:
    model = outcome.model
    if model.local_version is None:
        console.line(f"model    {model.name}: not registered")
        return
    number = f"/{model.version} in MLflow" if model.version else ""
    console.line(f"model    {model.name}{number}, {model.local_version} in the local registry")
