"""A process in which a model's own code answers, so that it can be ended whatever that code does.

`python -m modelbook.serving.apart FOLDER HANDLE` opens the bundle in FOLDER and answers on the socket HANDLE
until that is closed or the process that started it is gone.
"""

import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from modelbook.errors import DataInvalidError, ModelbookError, ModelRefusedError, NotFoundError
from modelbook.serving.leaving import end_with_parent

READY = "ready"
ANSWER = "answer"
ERRORS: dict[str, type[ModelbookError]] = {
    error.code: error for error in (DataInvalidError, ModelbookError, ModelRefusedError, NotFoundError)
}

Message = tuple[str, Any]


def main() -> None:
    """Answer until nobody asks any more."""
    folder, handle = Path(sys.argv[1]), int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever started this ends it
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    with Connection(handle) as connection:
        answer_all(connection, folder)


def answer_all(connection: "Connection[Any, Any]", folder: Path) -> None:
    """Open a bundle, say so, and answer request after request until the other end is closed."""
    from modelbook.serving.runtime import open_runtime

    try:
        runtime = open_runtime(folder)
    except ModelbookError as error:
        connection.send(_failure(error))
        return
    connection.send((READY, None))
    while True:
        try:
            rows, with_probabilities = connection.recv()
        except EOFError:
            return
        connection.send(_answer(runtime, rows, with_probabilities=with_probabilities))


def _answer(runtime: Any, rows: Any, *, with_probabilities: bool) -> Message:
    try:
        return ANSWER, tuple(runtime.predict(rows, with_probabilities=with_probabilities))
    except ModelbookError as error:
        return _failure(error)
    except Exception as error:  # noqa: BLE001 (the next request may go well)
        return _failure(ModelbookError("the model failed on the rows", got=type(error).__name__))


def _failure(error: ModelbookError) -> Message:
    code = error.code if error.code in ERRORS else ModelbookError.code
    return code, {"what": error.what, "got": error.got, "where": error.where, "hint": error.hint}


if __name__ == "__main__":
    main()
