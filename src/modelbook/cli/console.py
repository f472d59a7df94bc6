"""What the commands print: results on stdout, progress and errors on stderr, one JSON document on request."""

import logging
import os
import select
import shlex
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import UnsupportedOperation
from pathlib import Path
from typing import Any, TextIO

import typer

from modelbook.cli.progress import PlainProgress, choose_progress
from modelbook.errors import ModelbookError, NotFoundError, UsageError


class Console:
    """The terminal as one command sees it: colour and tables for people, plain lines for pipes."""

    def __init__(self) -> None:
        self.is_json = False
        self.is_quiet = False
        self.is_debug = False
        self.directory = "."
        self._progress = PlainProgress()

    def configure(self, *, directory: str, is_json: bool, is_quiet: bool, is_debug: bool) -> None:
        """Take the global options and show what the stages log from now on."""
        self.directory = directory
        self.is_json, self.is_quiet, self.is_debug = is_json, is_quiet, is_debug
        logger = logging.getLogger("modelbook")
        logger.setLevel(logging.WARNING if is_quiet else logging.INFO)
        logger.propagate = False
        self._progress = choose_progress()
        logger.handlers = [self._progress]

    def document(self, content: Mapping[str, Any] | Sequence[Any]) -> None:
        """Print the result as the one JSON document; does nothing without --json."""
        self._progress.end()
        if self.is_json:
            import orjson

            options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
            typer.echo(orjson.dumps(content, option=options, default=str).decode())

    def line(self, text: str = "", *, style: str | None = None) -> None:
        """Print a line of the result for people; does nothing with --json."""
        self._progress.end()
        if not self.is_json:
            _print(text, style=style)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table for people: drawn on a terminal, separated by tabs elsewhere."""
        self._progress.end()
        if self.is_json:
            return
        if not sys.stdout.isatty():
            for row in (columns, *rows):
                typer.echo("\t".join(" ".join(str(cell).split()) for cell in row))
            return
        from rich.console import Console as RichConsole
        from rich.table import Table

        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        RichConsole(markup=False, emoji=False, highlight=False).print(table)

    def command(self, words: str, *, directory: str | None = None) -> str:
        """Return a command as the user would type it now, the program and -C spelled as they did."""
        place = directory or self.directory
        option = "" if place == "." else f" -C {shlex.quote(place)}"
        return f"{_program()}{option} {words}"

    def path(self, relative: str) -> str:
        """Return a path of the project as it reads from where the user is."""
        return str(Path(self.directory) / relative)

    def note(self, text: str) -> None:
        """Print a line beside the result, on stderr."""
        if not self.is_quiet:
            self._progress.end()
            _print(text, is_result=False)

    def fail(self, error: ModelbookError) -> None:
        """Print an error with everything it knows."""
        self._progress.end()
        if self.is_debug:
            traceback.print_exception(error)
        self.document({"error": error.as_dict()})
        head, *rest = str(error).split("\n")
        _print(f"error: {head}", style="red", is_result=False)
        for line in rest:
            _print(line, is_result=False)

    def stopped(self, how: str, exit_code: int) -> None:
        """Say that the command was stopped from outside: "interrupted" or "terminated"."""
        self.document({"error": {"code": how, "exit_code": exit_code, "what": how}})
        words = f"{how}: nothing is half written; run the command again to go on"
        _print(words, style="red", is_result=False)

    def crash(self, error: Exception) -> None:
        """Say that something happened that nobody foresaw."""
        if self.is_debug:
            traceback.print_exception(error)
        unexpected = ModelbookError(
            "unexpected error",
            got=f"{type(error).__name__}: {error}",
            hint="run the command again with --debug for the traceback, and report it",
        )
        self.is_debug = False
        self.fail(unexpected)

    def is_closed(self) -> bool:
        """Return whether whoever read the output has gone, as `head` does."""
        return any(_is_closed(stream) for stream in (sys.stdout, sys.stderr))

    def mute(self) -> None:
        """Write no more to an output that nobody reads: Python would when it ends, and complain."""
        for stream in (sys.stdout, sys.stderr):
            if _is_closed(stream):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print(text: str, *, style: str | None = None, is_result: bool = True) -> None:
    """Print a line, coloured on a terminal unless NO_COLOR is set."""
    is_plain = bool(os.environ.get("NO_COLOR"))
    typer.secho(text, fg=style, err=not is_result, color=False if is_plain else None)


def _is_closed(stream: TextIO) -> bool:
    """Return whether a stream is a pipe whose other end is closed."""
    watch = select.poll()
    with suppress(UnsupportedOperation):  # it is no file, as in a notebook
        watch.register(stream, 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))


def _program() -> str:
    """Return how the user started this program."""
    program = sys.argv[0]
    if Path(program).name == "__main__.py":
        return f"{shlex.quote(sys.orig_argv[0])} -m modelbook"
    return shlex.quote(program) if "/" in program and not _is_on_path(program) else "modelbook"


def _is_on_path(program: str) -> bool:
    """Return whether a program's name alone would start it in the user's shell."""
    found = shutil.which(Path(program).name)
    return (
        found is not None and Path(program).is_absolute() and Path(found).resolve() == Path(program).resolve()
    )


def chdir(directory: str) -> None:
    """Change into a folder.

    Raises:
        NotFoundError: There is none of that name.
        UsageError: It cannot be entered.
    """
    if not Path(directory).is_dir():
        raise NotFoundError("there is no such folder", where=directory, hint="give -C a project's folder")
    try:
        os.chdir(directory)
    except OSError as error:
        raise UsageError("the folder cannot be entered", where=directory, got=error.strerror) from error
