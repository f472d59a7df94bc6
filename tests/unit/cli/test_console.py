import json
import logging
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelbook.cli.console import Console, chdir
from modelbook.errors import ConfigError, NotFoundError, UsageError

RED = "\x1b[31m"
PRINTING = """
from modelbook.cli.console import Console
from modelbook.errors import NotFoundError
console = Console()
console.table(("name", "note"), [("[bold]a[/]", ":smile: [red]"), ("b", 2)])
console.line("done", style="green")
console.fail(NotFoundError("there is no such run"))
"""


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    logger = logging.getLogger("modelbook")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    return Console()


def configured(console: Console, *, directory: str = ".", **switches: bool) -> Console:
    console.configure(
        directory=directory, **{"is_json": False, "is_quiet": False, "is_debug": False} | switches
    )
    return console


def on_a_terminal(code: str, **environ: str) -> str:
    """Return what a program prints when its output is a terminal."""
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", code],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"} | environ,
        check=True,
    )
    os.close(theirs)
    printed = b""
    try:
        while chunk := os.read(ours, 65536):
            printed += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return printed.decode()


def test_a_table_for_programs(console: Console, capsys: pytest.CaptureFixture[str]):
    """Off a terminal a table is tabs and lines, whatever its cells hold, and without colour."""
    console.table(("name", "note"), [("a", "1\t2\n  3"), ("b", None)])
    console.line("done", style="green")
    assert capsys.readouterr().out == "name\tnote\na\t1 2 3\nb\tNone\ndone\n"


def test_a_table_for_people():
    """On a terminal a table is drawn, its cells as they are, and colours are used."""
    printed = on_a_terminal(PRINTING)
    assert "[bold]a[/]" in printed
    assert ":smile: [red]" in printed
    assert "\t" not in printed
    assert RED in printed


def test_no_color():
    """With NO_COLOR nothing is coloured, terminal or not."""
    printed = on_a_terminal(PRINTING, NO_COLOR="1")
    assert "there is no such run" in printed
    assert RED not in printed
    assert "\x1b[32m" not in printed


def test_json_is_all_of_stdout(console: Console, capsys: pytest.CaptureFixture[str]):
    """With --json stdout is one document and the rest goes to stderr or nowhere."""
    configured(console, is_json=True)
    console.line("for people")
    console.table(("a",), [("b",)])
    console.note("beside it")
    console.document({"path": Path("a"), "value": np.float64(0.5), "word": "é"})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"path": "a", "value": 0.5, "word": "é"}
    assert err == "beside it\n"


def test_no_document_without_json(console: Console, capsys: pytest.CaptureFixture[str]):
    """Without --json there is no document."""
    configured(console).document({"a": 1})
    assert capsys.readouterr().out == ""


def test_progress(console: Console, capsys: pytest.CaptureFixture[str]):
    """What stages log goes to stderr with the time since the start; warnings say what they are."""
    configured(console)
    logging.getLogger("modelbook.train").info("fitting")
    logging.getLogger("modelbook.train").warning("one class is rare")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["   0.0s  fitting", "   0.0s  warning: one class is rare"]


def test_quiet(console: Console, capsys: pytest.CaptureFixture[str]):
    """With --quiet results, warnings and errors are left."""
    configured(console, is_quiet=True)
    logging.getLogger("modelbook.train").info("fitting")
    logging.getLogger("modelbook.train").warning("one class is rare")
    console.note("beside it")
    console.line("result")
    console.fail(NotFoundError("there is no such run"))
    out, err = capsys.readouterr()
    assert out == "result\n"
    assert err.splitlines() == ["   0.0s  warning: one class is rare", "error: there is no such run"]


def test_an_error_says_all_it_knows(console: Console, capsys: pytest.CaptureFixture[str]):
    """An error is printed on stderr with everything that it knows, and no traceback."""
    configured(console).fail(
        ConfigError("1 mistake", mistakes=("a: missing",), where="c.yaml", hint="mend it")
    )
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error: 1 mistake",
        "  - a: missing",
        "  where:    c.yaml",
        "  next:     mend it",
    ]


def test_an_error_as_a_document(console: Console, capsys: pytest.CaptureFixture[str]):
    """With --json the error is the document, and people read it on stderr all the same."""
    configured(console, is_json=True).fail(NotFoundError("there is no such run", where="abc"))
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "not_found"
    assert "there is no such run" in err


def crash(console: Console) -> None:
    try:
        {}["key"]
    except KeyError as error:
        console.crash(error)


def test_a_crash(console: Console, capsys: pytest.CaptureFixture[str]):
    """What nobody foresaw is one short error that says how to see more."""
    crash(configured(console, is_json=True))
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "error: unexpected error",
        "  got:      KeyError: 'key'",
        "  next:     run the command again with --debug for the traceback, and report it",
    ]
    assert json.loads(out)["error"]["exit_code"] == 1


def test_a_crash_with_debug(console: Console, capsys: pytest.CaptureFixture[str]):
    """With --debug the traceback comes first, once."""
    crash(configured(console, is_debug=True))
    assert capsys.readouterr().err.count("Traceback") == 1


@pytest.mark.parametrize(
    ("started", "directory", "words"),
    [
        ("modelbook", ".", "modelbook ui"),
        ("modelbook", "my houses", "modelbook -C 'my houses' ui"),
        (".venv/bin/modelbook", ".", ".venv/bin/modelbook ui"),
        ("/my tools/modelbook", ".", "'/my tools/modelbook' ui"),
        ("/lib/modelbook/__main__.py", ".", "python3 -m modelbook ui"),
    ],
)
def test_the_next_command_is_spelled_as_this_one(
    console: Console, monkeypatch: pytest.MonkeyPatch, *, started: str, directory: str, words: str
):
    """The program and the folder are spelled as the user spelled them."""
    monkeypatch.setattr(sys, "argv", [started, "run"])
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "modelbook", "run"])
    assert configured(console, directory=directory).command("ui") == words


def test_a_program_that_is_on_the_path(console: Console, monkeypatch: pytest.MonkeyPatch):
    """The shell gives the whole path of a program; one that is found by its name is called by it."""
    program = shutil.which("python")
    assert program is not None
    monkeypatch.setattr(sys, "argv", [program])
    assert configured(console).command("ui") == "modelbook ui"
    assert configured(console, directory="a").path("reports/report.html") == "a/reports/report.html"


def test_into_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder is entered; one that does not exist or cannot be entered is named."""
    chdir(str(tmp_path))
    assert Path.cwd() == tmp_path
    with pytest.raises(NotFoundError, match="no such folder"):
        chdir("nowhere")

    def refuse(_: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "chdir", refuse)
    with pytest.raises(UsageError) as caught:
        chdir(str(tmp_path))
    monkeypatch.undo()
    assert caught.value.got == "Permission denied"
