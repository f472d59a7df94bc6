"""A process that makes trials, one after the other, for the sweep that started it.

Started as `python -m modelbook.pipeline.sweeps.worker`. It gets orders on stdin and answers on stdout, one
JSON document a line; what libraries and the user's own code print goes to a log. It ends with the process
that started it, whatever it is doing.
"""

import gc
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import orjson

from modelbook.config.settings import parse_yaml, validate
from modelbook.errors import ConfigError, ModelbookError
from modelbook.pipeline.run import disable_telemetry

_PATIENCE_S = 2
_OBJECTS_BETWEEN_LOOKS = 50_000
_LAST_BYTES = 400

OnFold = Callable[[int, float], bool]


class WorkerGoneError(Exception):
    """The process ended before it answered."""


class Worker:
    """The other process, as the sweep sees it.

    Args:
        root: The project.
        log: Gets what the process prints.
    """

    def __init__(self, root: Path, log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "modelbook.pipeline.sweeps.worker"],
                cwd=root,
                env=os.environ | {"PYTHONIOENCODING": "utf-8"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )

    def order(self, kind: str, content: Mapping[str, Any], *, on_fold: OnFold | None = None) -> str:
        """Return what the process answers to an order: the JSON of a record.

        Args:
            kind: `check`, `prepare`, `make` or `compare`.
            content: What belongs to it.
            on_fold: Takes the number of a fold and the mean score so far; says whether to go on.

        Raises:
            ModelbookError: The error that the process answered with.
            WorkerGoneError: It ended.
        """
        self._say({"order": kind, **content})
        while True:
            answer = self._hear()
            if "fold" in answer and on_fold is not None:
                self._say({"go_on": on_fold(answer["fold"], answer["score"])})
            elif "error" in answer:
                raise _as_ours(answer["error"])
            else:
                return str(answer["done"])

    def end(self) -> None:
        """End the process, and those that it started."""
        if not self.is_alive:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def is_alive(self) -> bool:
        """Whether the process takes orders."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process, and let go of its pipes."""
        self.end()
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        if self._process.stdout:
            self._process.stdout.close()

    def _say(self, content: Mapping[str, Any]) -> None:
        try:
            print(orjson.dumps(content).decode(), file=self._process.stdin, flush=True)
        except (OSError, ValueError):
            raise self._gone() from None

    def _hear(self) -> dict[str, Any]:
        try:
            line = self._process.stdout.readline() if self._process.stdout else ""
        except (OSError, ValueError):
            line = ""
        if not line.endswith("\n"):
            raise self._gone()
        heard: dict[str, Any] = orjson.loads(line)
        return heard

    def _gone(self) -> WorkerGoneError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE_S)
        last = self._log.read_bytes()[-_LAST_BYTES:].decode(errors="replace") if self._log.is_file() else ""
        words = " ".join(last.split())
        return WorkerGoneError(
            f"its process ended with {self._process.returncode}" + (f": {words}" if words else "")
        )


def main() -> None:
    """Follow orders until there are none."""
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)  # the libraries make half a million objects that stay
    disable_telemetry()
    heard: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(heard,), daemon=True).start()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # whatever else is printed, in C too, is no answer
        follow = _Follower(heard, out).follow
        while True:
            follow(heard.get())


def _listen(heard: "queue.Queue[dict[str, Any]]") -> None:
    """Hand on what is said, and end the process when the one that says it is gone."""
    with os.fdopen(os.dup(0), encoding="utf-8") as lines:
        for line in lines:
            heard.put(orjson.loads(line))
    os._exit(1)


class _Follower:
    def __init__(self, heard: "queue.Queue[dict[str, Any]]", out: TextIO) -> None:
        from modelbook.pipeline.sweeps.trial import TrialBench

        self._heard, self._out, self._bench = heard, out, TrialBench()

    def follow(self, order: dict[str, Any]) -> None:
        """Do what is asked, and answer."""
        try:
            self._answer({"done": getattr(self, f"_{order['order']}")(order)})
        except ModelbookError as error:
            self._answer({"error": error.as_dict()})
        except Exception as error:  # noqa: BLE001 (one trial's fault, in anybody's code, ends no sweep)
            found = ModelbookError("the fit failed", got=f"{type(error).__name__}: {error}")
            self._answer({"error": found.as_dict()})

    def _check(self, order: dict[str, Any]) -> str:
        from modelbook.pipeline.sweeps.trial import check_settings

        for text in order["texts"]:
            check_settings(_config(text, order))
        return ""

    def _prepare(self, order: dict[str, Any]) -> str:
        from modelbook.pipeline.sweeps.trial import prepare_rows

        prepared = prepare_rows(_config(order["text"], order), Path(order["folder"]))
        return prepared.model_dump_json()

    def _make(self, order: dict[str, Any]) -> str:
        config = _config(order["text"], order)
        training = config.training.model_copy(update={"n_jobs": order["threads"]})
        result = self._bench.make(
            config.model_copy(update={"training": training}),
            Path(order["folder"]),
            features_key=order["features_key"],
            metric=order["metric"],
            chosen_by=order["chosen_by"],
            predictions=Path(order["predictions"]),
            tell=self._tell,
        )
        return result.model_dump_json()

    def _compare(self, order: dict[str, Any]) -> str:
        import pandas as pd

        from modelbook.evaluation.resampling import paired_differences

        tables = [pd.read_parquet(path) for path in order["predictions"]]
        if not tables[0]["actual"].equals(tables[1]["actual"]):
            return ""
        found = paired_differences(
            *tables,
            task=order["task"],
            classes=order["classes"],
            positive_class=order["positive_class"],
            metrics={order["metric"]},
            threads=order["threads"],
        )
        return next((each.model_dump_json() for each in found if each.metric == order["metric"]), "")

    def _tell(self, fold: int, score: float) -> bool:
        self._answer({"fold": fold, "score": score})
        return bool(self._heard.get()["go_on"])

    def _answer(self, content: Mapping[str, Any]) -> None:
        print(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY).decode(), file=self._out, flush=True)


def _config(text: str, order: Mapping[str, Any]) -> Any:
    path = Path(order["path"])
    return validate(parse_yaml(text, path), root=path.parent.parent, environ=os.environ, where=str(path))


def _as_ours(failure: dict[str, Any]) -> ModelbookError:
    """Return the error that another process described, as an error of the same kind."""
    fields = {"where": failure["where"], "hint": failure["next"]}
    cls = _kinds().get(failure["code"], ModelbookError)
    if issubclass(cls, ConfigError):
        return cls(failure["what"], mistakes=(failure["got"],) if failure["got"] else (), **fields)
    return cls(failure["what"], got=failure["got"], expected=failure["expected"], **fields)


def _kinds() -> dict[str, type[ModelbookError]]:
    found: dict[str, type[ModelbookError]] = {}
    waiting: list[type[ModelbookError]] = [ModelbookError]
    while waiting:
        cls = waiting.pop()
        found[cls.code] = cls
        waiting.extend(cls.__subclasses__())
    return found


if __name__ == "__main__":
    main()
