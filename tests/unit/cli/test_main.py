import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from modelbook import __version__
from modelbook.cli import main as cli
from modelbook.errors import ModelbookError, StorageError

COMMANDS = sorted(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]
HEAVY = {"mlflow", "sklearn", "pandas", "polars"}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Return a function that lets `modelbook doctor` end in an exception."""

    def fail_with(error: BaseException) -> None:
        def examine(_: Path, **_options: bool) -> None:
            raise error

        monkeypatch.setattr("modelbook.pipeline.doctor.examine", examine)

    return fail_with


def test_version(modelbook):
    """The version is that of the package."""
    answer = modelbook("--version")
    assert (answer.code, answer.stdout) == (0, f"modelbook {__version__}\n")
    assert version("modelbook") == __version__


@pytest.mark.parametrize("words", [["--json", "--version"], ["--version", "--json"]])
def test_the_version_as_a_document(modelbook, words: list[str]):
    """With `--json`, wherever it stands, the version is the one JSON document."""
    answer = modelbook(*words)
    assert (answer.code, json.loads(answer.stdout)) == (0, {"version": __version__})


def test_help_names_every_command(modelbook):
    """The help names every command but `stage`, which is for dvc.yaml, and says what each is for."""
    answer = modelbook("--help")
    listed = {
        line.split()[0]: line.split()[1:] for line in answer.stdout.split("Commands:")[1].splitlines() if line
    }
    assert answer.code == 0
    assert sorted(listed) == [name for name in COMMANDS if name != "stage"]
    assert all(listed.values())


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(modelbook, command: str):
    """Each command says what it does and what each of its options is for."""
    answer = modelbook(command, "--help")
    assert (answer.code, answer.stderr) == (0, "")
    about, *sections = answer.stdout.split("\n\n")[1:]
    assert about.strip().endswith(".")
    for parameter in typer.main.get_command(cli.app).commands[command].params:  # type: ignore[attr-defined]
        assert parameter.help, f"{command}: {parameter.name}"
    assert any(section.startswith("Options:") for section in sections)


@pytest.mark.parametrize(
    "words", [["--help"], *([name, "--help"] for name in ("run", "runs", "models", "init"))]
)
def test_help_is_light(words: list[str], tmp_path: Path):
    """Help loads none of the heavy libraries."""
    code = (
        "import sys; from modelbook.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: assert not {HEAVY} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, check=True, capture_output=True)


def test_no_command(modelbook):
    """Without a command there is the help on stderr, and exit code 2."""
    answer = modelbook()
    assert (answer.code, answer.stdout) == (2, "")
    assert answer.stderr.startswith("Usage: modelbook")
    assert answer.stderr.splitlines()[-2] == "error: a command is needed"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["--nosuch"], "No such option: --nosuch"),
        (["-C"], "Option '-C' requires an argument"),
        (["runs", "-C"], "Option '-C' requires an argument"),
        (["runs", "--nosuch"], "No such option: --nosuch"),
        (["runs", "--limit", "many"], "Invalid value for '--limit'"),
        (["runs", "--limit", "0"], "Invalid value for '--limit'"),
        (["report", "a", "b"], "Got unexpected extra argument(s) (b)"),
        (["stage"], "Missing argument 'name'"),
        (["run", "--set"], "Option '--set' requires an argument"),
        (["run", "--set", "seed"], "--set takes KEY=VALUE"),
        (["run", "--set", "=1"], "--set takes KEY=VALUE"),
    ],
)
def test_wrong_words(modelbook, words: list[str], what: str):
    """Words that the command line does not take are named, with exit code 2, for people and as JSON."""
    answer = modelbook(*words)
    assert (answer.code, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"error: {what}")
    assert "Traceback" not in answer.stderr
    document = json.loads(modelbook("--json", *words).stdout)
    assert document["error"]["code"] == "usage"
    assert document["error"]["exit_code"] == 2
    assert document["error"]["what"].startswith(what)


def test_no_such_stage(modelbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An unknown stage names those that there are."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("project: {name: a}\n")
    monkeypatch.chdir(tmp_path)
    answer = modelbook("stage", "nosuch")
    assert answer.code == 2
    assert "expected: ingest, validate, preprocess, train, register" in answer.stderr


@pytest.mark.parametrize("words", [["-C", "nowhere", "runs"], ["runs", "-C", "nowhere"]])
def test_no_such_folder(modelbook, words: list[str]):
    """A folder that -C names and that does not exist ends in exit code 5."""
    answer = modelbook(*words)
    assert answer.code == 5
    assert answer.stderr.splitlines()[:2] == ["error: there is no such folder", "  where:    nowhere"]


def test_no_project(modelbook, tmp_path: Path):
    """A folder without a project ends in exit code 5, and the folder is the one that -C names."""
    answer = modelbook("-C", tmp_path, "--json", "runs")
    error = json.loads(answer.stdout)["error"]
    assert (answer.code, error["exit_code"]) == (5, 5)
    assert error["where"] == str(tmp_path / "config/config.yaml")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (["run", "--json", "--force"], ["--json"], ["run", "--force"]),
        (["run", "--quiet", "-C", "a", "--debug"], ["--quiet", "-C", "a", "--debug"], ["run"]),
        (["-C", "a", "run", "-C", "b"], ["-C", "a", "-C", "b"], ["run"]),
        (["report", "--", "--json", "-C"], [], ["report", "--", "--json", "-C"]),
    ],
)
def test_global_options_anywhere(arguments: list[str], options: list[str], words: list[str]):
    """Global options count wherever they stand, up to `--`."""
    assert cli._global_first(arguments) == (options, words)


@pytest.mark.parametrize("place", [["--json", "doctor"], ["doctor", "--json"]])
def test_json_before_or_behind(modelbook, failing, place: list[str]):
    """--json is taken before the command's name and behind it."""
    failing(StorageError("a file cannot be written", where="a"))
    answer = modelbook(*place)
    assert answer.code == 1
    assert json.loads(answer.stdout)["error"]["what"] == "a file cannot be written"


@pytest.mark.parametrize("error", [StorageError("it failed"), ZeroDivisionError("it failed")])
def test_traceback_only_with_debug(modelbook, failing, error: Exception):
    """A traceback is shown with --debug, and never without."""
    failing(error)
    assert "Traceback" not in modelbook("doctor").stderr
    assert "Traceback" in modelbook("doctor", "--debug").stderr


def test_unexpected(modelbook, failing):
    """What nobody foresaw ends in exit code 1 and says how to see more."""
    failing(ZeroDivisionError("division by zero"))
    answer = modelbook("doctor")
    assert answer.code == 1
    assert answer.stderr.splitlines() == [
        "error: unexpected error",
        "  got:      ZeroDivisionError: division by zero",
        "  next:     run the command again with --debug for the traceback, and report it",
    ]


@pytest.mark.parametrize("cls", ModelbookError.__subclasses__())
def test_each_error_has_its_exit_code(modelbook, failing, cls: type[ModelbookError]):
    """Every error ends in the exit code that its class has."""
    failing(cls("it failed"))
    assert modelbook("doctor").code == cls.exit_code


def test_interrupted(modelbook, failing):
    """Ctrl-C ends in exit code 130 and says so, in JSON too."""
    failing(KeyboardInterrupt())
    answer = modelbook("doctor", "--json")
    assert answer.code == 130
    assert json.loads(answer.stdout)["error"]["code"] == "interrupted"
    assert answer.stderr.startswith("interrupted: nothing is half written")


def test_terminated(modelbook, monkeypatch: pytest.MonkeyPatch):
    """A termination unwinds what is open and ends in exit code 143."""
    unwound = []

    def examine(_: Path, **_options: bool) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 10)
        finally:
            unwound.append(True)

    monkeypatch.setattr("modelbook.pipeline.doctor.examine", examine)
    assert modelbook("doctor").code == 143
    assert unwound


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["nosuch", "--json"]])
def test_the_reader_went_away(words: list[str], tmp_path: Path):
    """When nobody reads the output any more, as behind `head`, the command ends without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "modelbook", *words],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == ""


def test_another_broken_pipe(modelbook, failing):
    """A broken pipe that is not the output's is an error like another."""
    failing(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    answer = modelbook("doctor")
    assert answer.code == 1
    assert "BrokenPipeError" in answer.stderr


def test_a_terminal_that_knows_no_arrows(tmp_path: Path):
    """What the terminal's encoding does not have is printed as an escape."""
    done = subprocess.run(
        [sys.executable, "-m", "modelbook", "-C", "a→b", "runs", "--json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "latin-1:strict"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert '"where": "a\\u2192b"' in done.stdout
    assert "where:    a\\u2192b" in done.stderr
