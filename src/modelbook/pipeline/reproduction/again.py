"""The stages up to `train` in a process of their own, in a folder that holds what a run was made with.

Started as `python -m modelbook.pipeline.reproduction.again`, maybe by another Python with other packages than
those that started it. What is logged goes to stdout, one JSON document a line behind a mark, for the process
that waits.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

import orjson

from modelbook.config import Config, load_config
from modelbook.errors import ModelbookError, NotReproducedError, StorageError
from modelbook.models.auto import settled
from modelbook.pipeline.run import disable_telemetry
from modelbook.pipeline.stages import run_stage
from modelbook.records import Outcome
from modelbook.tracking.lineage import GIT_POINTERS

STAGES = ("ingest", "validate", "preprocess", "train")

_MARK = "\x1e"
_PATIENCE_S = 5
_LAST_LINES = 4


def run_again(
    python: Path, folder: Path, *, raw: str, threads: int, logs: Path, outcome: Outcome | None = None
) -> None:
    """Run the stages up to `train` in a folder, and pass on what they log.

    The process ends with this one, however that ends.

    Args:
        python: The Python to run them with.
        folder: A project's folder; nothing outside of it is written but `logs`.
        raw: Its table, as a path in it.
        threads: Threads to fit with.
        logs: Where the stages' logs go.
        outcome: What an automatic search came to, which is then not searched for again.

    Raises:
        NotReproducedError: A stage failed; what it said is passed on.
        StorageError: The folder cannot be written or the disk is full.
    """
    words = [str(folder), "--raw", raw, "--threads", str(threads), "--logs", str(logs.absolute())]
    if outcome is not None:  # without the trials, of which there are more than a command line takes
        words += ["--outcome", outcome.model_copy(update={"trials": ()}).model_dump_json()]
    process = subprocess.Popen(  # noqa: S603 (a list, never a shell)
        [str(python), "-m", "modelbook.pipeline.reproduction.again", *words],
        cwd=folder,
        env=_environ(is_own=str(python) == sys.executable),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        failure, last = _pass_on(process.stdout or ())
        code = process.wait()
    finally:
        _end(process)
    if failure is not None:
        raise _as_ours(failure)
    if code:
        raise NotReproducedError(
            "the run cannot be made again: its stages crashed", got=f"exit code {code}: {' / '.join(last)}"
        )


def main() -> int:
    """Run the stages and return the exit code; an error of ours is the last thing said."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--outcome", type=Outcome.model_validate_json)
    given = parser.parse_args()
    disable_telemetry()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _told_on(sys.stdout) as teller:
        try:
            config = _settled(load_config(given.folder), raw=given.raw, threads=given.threads)
            config = settled(config, given.outcome) if given.outcome else config
            for name in STAGES:
                run_stage(name, config, logs=given.logs)
        except ModelbookError as error:
            teller.tell({"error": error.as_dict()})
            return error.exit_code
    return 0


def _settled(config: Config, *, raw: str, threads: int) -> Config:
    """Return settings by which nothing outside the folder is touched, and the number of cores has no say."""
    data = config.data.model_copy(update={"source": raw, "raw": raw, "query": None, "sha256": None})
    training = config.training.model_copy(update={"n_jobs": threads, "enable_mlflow": False})
    return config.model_copy(update={"data": data, "training": training})


class _Teller(logging.Handler):
    """Passes on what is logged, as one line each."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        self.tell({"logger": record.name, "level": record.levelno, "message": record.getMessage()})

    def tell(self, content: object) -> None:
        print(_MARK + orjson.dumps(content).decode(), file=self._stream, flush=True)


@contextmanager
def _told_on(stream: TextIO) -> Iterator[_Teller]:
    """Send what the stages log to a stream, and whatever the user's own code prints to stderr."""
    logger = logging.getLogger("modelbook")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    teller = _Teller(stream)
    logger.handlers = [teller]
    with redirect_stdout(sys.stderr):
        yield teller


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: then the other end of stdin is closed."""
    while os.read(sys.stdin.fileno(), 1):  # not sys.stdin: Python cannot end while a thread reads that
        pass
    os._exit(1)


def _environ(*, is_own: bool) -> dict[str, str]:
    """Return this process's environment without what names a store, a repository or other packages."""
    strange = () if is_own else ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "MLFLOW_TRACKING_URI" and name not in GIT_POINTERS and name not in strange
    }
    return kept | {"PYTHONIOENCODING": "utf-8"}


def _pass_on(lines: Iterable[str]) -> tuple[dict[str, Any] | None, deque[str]]:
    """Log what the other process says, and return the error that it ended with and the last other lines."""
    failure: dict[str, Any] | None = None
    last: deque[str] = deque(maxlen=_LAST_LINES)
    for line in lines:
        printed, mark, document = line.rstrip("\n").partition(_MARK)
        if printed.strip():
            last.append(printed.strip())
            logging.getLogger("modelbook.again").info(printed)
        if not mark:
            continue
        told = orjson.loads(document)
        failure = told.get("error", failure)
        if "message" in told:
            logging.getLogger(told["logger"]).log(told["level"], told["message"])
    return failure, last


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process and those that it started."""
    if process.stdin:
        process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
            break
    if process.stdout:
        process.stdout.close()


def _as_ours(failure: dict[str, Any]) -> ModelbookError:
    fields = {"where": failure["where"], "got": failure["got"], "expected": failure["expected"]}
    if failure["code"] == StorageError.code:
        return StorageError(failure["what"], **fields, hint=failure["next"])
    what = f"the run cannot be made again: {failure['what']}"
    return NotReproducedError(what, **fields, hint=failure["next"])


if __name__ == "__main__":
    sys.exit(main())
