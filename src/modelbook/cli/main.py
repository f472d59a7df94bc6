"""The command `modelbook`: global options, the commands, and how errors end."""

import atexit
import gc
import signal
import sys
from io import TextIOWrapper
from typing import Annotated, Never

import typer
from typer.exceptions import TyperException

from modelbook.cli.compare import compare
from modelbook.cli.console import Console, chdir
from modelbook.cli.gc import gc as clear
from modelbook.cli.init import init
from modelbook.cli.lifecycle import history, promote, rollback
from modelbook.cli.models import models
from modelbook.cli.predict import predict
from modelbook.cli.project import doctor, ui
from modelbook.cli.reproduce import reproduce
from modelbook.cli.run import run, stage
from modelbook.cli.runs import report, runs
from modelbook.cli.serve import serve
from modelbook.cli.sweep import sweep
from modelbook.cli.sync import sync
from modelbook.errors import ModelbookError, UsageError

app = typer.Typer(
    name="modelbook",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From a table to a model in production, with every experiment on the record.",
)

app.command("init")(init)
app.command("run")(run)
app.command("sweep")(sweep)
app.command("runs")(runs)
app.command("compare")(compare)
app.command("report")(report)
app.command("reproduce")(reproduce)
app.command("models")(models)
app.command("promote")(promote)
app.command("rollback")(rollback)
app.command("history")(history)
app.command("predict")(predict)
app.command("serve")(serve)
app.command("sync")(sync)
app.command("gc")(clear)
app.command("ui")(ui)
app.command("doctor")(doctor)
app.command("stage", hidden=True)(stage)

EXIT_INTERRUPTED = 130
EXIT_OUTPUT_CLOSED = 141
EXIT_TERMINATED = 143
_OBJECTS_BETWEEN_LOOKS = 50_000
_FLAGS = {"--json", "--quiet", "--debug"}


@app.callback()
def settings(
    context: typer.Context,
    directory: Annotated[str, typer.Option("-C", metavar="DIR", help="Run as if started there.")] = ".",
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            is_eager=True,
            callback=lambda context, wanted: _version(context.obj, wanted=wanted),
        ),
    ] = False,
) -> None:
    """From a table to a model in production, with every experiment on the record."""
    del version
    console: Console = context.obj
    console.configure(directory=directory, is_json=json, is_quiet=quiet, is_debug=debug)
    chdir(directory)
    if context.invoked_subcommand is None:
        console.note(context.get_help())
        raise UsageError("a command is needed", hint="`modelbook --help` lists them")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the code that the contract gives the outcome."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that knows no arrows gets an escape, not a crash
            stream.reconfigure(errors="backslashreplace")
    console = Console()
    _spare_the_collector()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _run(console, sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:
        console.mute()
        code = EXIT_OUTPUT_CLOSED
    sys.exit(code)


def _run(console: Console, arguments: list[str]) -> int:
    options, words = _global_first(arguments)
    console.is_json = "--json" in options  # also when the words turn out to be no command
    command = typer.main.get_command(app)
    code = 0
    try:
        with command.make_context("modelbook", [*options, *words], obj=console) as context:
            command.invoke(context)
    except typer.Exit as ended:
        code = ended.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.stopped("interrupted", EXIT_INTERRUPTED)
        code = EXIT_INTERRUPTED
    except _Terminated:
        console.stopped("terminated", EXIT_TERMINATED)
        code = EXIT_TERMINATED
    except ModelbookError as error:
        console.fail(error)
        code = error.exit_code
    except TyperException as error:
        console.fail(_as_usage_error(error))
        code = UsageError.exit_code
    except Exception as error:  # the last resort: no traceback unless asked for
        if isinstance(error, BrokenPipeError) and console.is_closed():
            raise
        console.crash(error)
        code = ModelbookError.exit_code
    return code


def _spare_the_collector() -> None:
    """Let the garbage collector look less often, and not at all on leaving.

    The libraries make half a million objects that stay. Going through them again and again while they are
    imported, and once more before the process ends, takes some 2 s of a run.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)
    atexit.register(gc.freeze)


def _global_first(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the global options and the other words: the options may stand behind the command's name too."""
    options: list[str] = []
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            others += [word, *words]
        elif word in _FLAGS:
            options.append(word)
        elif word == "-C":
            value = next(words, None)
            if value is None:
                return [*options, word], []  # the parser says what is missing
            options += [word, value]
        else:
            others.append(word)
    return options, others


class _Terminated(SystemExit):
    """Somebody asked the process to end."""


def _terminate(_signal: int, _frame: object) -> Never:
    """Unwind as on an interruption, so that an open run is closed and no lock is left."""
    raise _Terminated(EXIT_TERMINATED)


def _as_usage_error(error: TyperException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "modelbook"
    what = error.format_message().rstrip(".")
    return UsageError(what or "a command is needed", hint=f"`{command} --help` shows what it takes")


def _version(console: Console, *, wanted: bool) -> None:
    if wanted:
        from modelbook import __version__

        console.document({"version": __version__})
        console.line(f"modelbook {__version__}")
        raise typer.Exit
