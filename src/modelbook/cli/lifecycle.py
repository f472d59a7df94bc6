"""The commands `promote`, `rollback` and `history`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelbook.cli.console import Console

if TYPE_CHECKING:
    from modelbook.pipeline.lifecycle.promoting import Promotion
    from modelbook.records import GateCheck
    from modelbook.registry.ledger import LedgerEntry

Name = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; the ledger keeps it.")]


def promote(
    context: typer.Context,
    name: Name,
    version: Annotated[
        str,
        typer.Argument(
            metavar="VERSION",
            help="MLflow's number, a local version, or current: the model that lies in the project.",
        ),
    ],
    *,
    to: Annotated[Literal["staging", "production"], typer.Option("--to", help="Where to.")],
    reason: Reason = None,
    force: Annotated[
        bool, typer.Option("--force", help="Whatever speaks against it; takes --reason.")
    ] = False,
) -> None:
    """Move a version to staging or production, if it is better than what is there."""
    from modelbook.pipeline.lifecycle.promoting import promote as move
    from modelbook.pipeline.run import disable_telemetry

    disable_telemetry()
    _print(context.obj, move(Path.cwd(), name, version, to=to, reason=reason, is_forced=force))


def rollback(context: typer.Context, name: Name, *, reason: Reason = None) -> None:
    """Bring back the version that was in production before; once more goes further back."""
    from modelbook.pipeline.lifecycle.promoting import roll_back
    from modelbook.pipeline.run import disable_telemetry

    disable_telemetry()
    _print(context.obj, roll_back(Path.cwd(), name, reason=reason))


def history(context: typer.Context, name: Name) -> None:
    """Show who moved which version where, when and why, and whether that record is whole."""
    from modelbook.pipeline.lifecycle.history import read_history

    console: Console = context.obj
    found = read_history(Path.cwd(), name)
    console.document(found.model_dump(mode="json"))
    if found.entries:
        head = ("#", "when", "who", "what", "version", "from", "to", "gate", "change", "commit", "why")
        console.table(head, [_row(entry) for entry in found.entries])
    else:
        console.line(f"no version of {name} was promoted yet")
    for fault in found.faults:
        console.line(f"NOT WHOLE  {fault}", style="red")
    if found.faults:
        raise typer.Exit(1)


def _print(console: Console, done: "Promotion") -> None:
    console.document(done.model_dump(mode="json"))
    rows = [_numbers(check) for check in done.checks]
    if rows:
        console.table(("check", "value", "limit", "interval", "verdict"), rows)
    for note in done.notes:
        console.line(f"note     {note}")
    for objection in done.forced:
        console.line(f"forced   {objection}", style="yellow")
    local = f" ({done.local_version})" if done.local_version not in {None, done.version} else ""
    before = f", in place of {done.previous}" if done.previous else ""
    console.line(f"{done.stage.lower():<8} {done.name}/{done.version}{local}{before}", style="green")


def _numbers(check: "GateCheck") -> tuple[str, ...]:
    from modelbook.logs import format_number

    value, lower, upper = (
        "" if number is None else format_number(number) for number in (check.value, check.lower, check.upper)
    )
    least, most = ("above", "below") if check.kind == "change" else ("at least", "at most")
    limits = [f"{least} {check.min:g}"] if check.min is not None else []
    limits += [f"{most} {check.max:g}"] if check.max is not None else []
    return (check.name, value, " and ".join(limits), f"{lower} to {upper}" if lower else "", check.answer)


def _change(entry: "LedgerEntry") -> str:
    """Return how a version compared with production, where that was asked."""
    for check in entry.checks:
        if check.kind == "change":
            _, value, _, interval, _ = _numbers(check)
            return f"{check.metric} {value} ({interval})"
    return "-"


def _row(entry: "LedgerEntry") -> tuple[object, ...]:
    return (
        entry.number,
        entry.moment.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        f"{entry.who.user}@{entry.who.host}",
        f"{entry.action} (forced)" if entry.forced else entry.action,
        entry.version,
        entry.stage_before,
        entry.stage,
        entry.gate,
        _change(entry),
        (entry.commit or "-")[:8],
        entry.reason or "-",
    )
