"""The smoke test: the packaged model, loaded in a process of its own, predicts what was recorded.

That process is started as `python -P -m modelbook.pipeline.smoke FOLDER` in a temporary folder. It has
nothing of this one in memory and nothing of the project on its path, so that what the package lacks shows
here and not when the model is served.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from modelbook.config import Config
from modelbook.errors import ModelbookError
from modelbook.evaluation.metrics import columns_of
from modelbook.files import write_whole
from modelbook.pipeline import layout
from modelbook.records import GateCheck, ModelRecord

TIMEOUT_S = 120.0

# Fewer rows at a time let BLAS sum in another order, which shows in the sixteenth digit.
_MOST_DIFFERENCE = 1e-9
_ROWS = 100
_RECORD, _ASKED, _ANSWERED = "record.json", "asked.parquet", "answered.parquet"


class SmokeTest:
    """A packaged model at work in a process of its own.

    Args:
        process: The process.
        folder: Where its answer will be.
        recorded: What the model predicted for the same rows when it was trained.
    """

    def __init__(self, process: "subprocess.Popen[str]", folder: Path, recorded: pd.DataFrame) -> None:
        self._process = process
        self._folder = folder
        self._recorded = recorded

    def check(self, *, timeout_s: float = TIMEOUT_S) -> GateCheck:
        """Wait for the answer and return the check: passed when the model predicts what it did.

        Args:
            timeout_s: The most seconds to wait.
        """
        try:
            _, said = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return self._checked(None, f"the packaged model gave no answer within {timeout_s:g} s")
        if self._process.returncode:
            last = said.strip().rpartition("\n")[2] or f"exit code {self._process.returncode}"
            return self._checked(None, f"the packaged model does not work in a process of its own: {last}")
        answered = pd.read_parquet(self._folder / _ANSWERED)
        difference = largest_difference(self._recorded, answered)
        note = None if difference <= _MOST_DIFFERENCE else "the packaged model predicts something else"
        return self._checked(difference, note)

    def _checked(self, difference: float | None, note: str | None) -> GateCheck:
        return GateCheck(
            name="smoke_test",
            kind="smoke_test",
            metric="difference",
            value=difference,
            min=None,
            max=_MOST_DIFFERENCE,
            passed=difference is not None and difference <= _MOST_DIFFERENCE,
            rows=len(self._recorded),
            note=note,
        )


@contextmanager
def smoke_test(config: Config, record: ModelRecord) -> Iterator[SmokeTest]:
    """Start the packaged model of a project on some test rows, and end its process on leaving.

    Args:
        config: The project, whose models/ holds the package.
        record: What is recorded of the model.

    Raises:
        StorageError: The temporary folder cannot be written or the disk is full.
    """
    recorded = pd.read_parquet(config.path(layout.PREDICTIONS))
    positions = np.unique(np.linspace(0, len(recorded) - 1, _ROWS).astype(int))
    inputs = [column.name for column in record.inputs]
    with tempfile.TemporaryDirectory(prefix="modelbook-smoke-") as name:
        folder = Path(name)
        write_whole(folder / _RECORD, record.to_bytes())
        pl.read_parquet(config.path(layout.TEST), columns=inputs)[positions].write_parquet(folder / _ASKED)
        process = _start(folder, config)
        try:
            yield SmokeTest(process, folder, recorded.iloc[positions])
        finally:
            process.kill()
            process.communicate()


def _start(folder: Path, config: Config) -> "subprocess.Popen[str]":
    package = config.path(layout.MODELS).absolute()
    return subprocess.Popen(  # noqa: S603 (a list, never a shell)
        [sys.executable, "-P", "-m", "modelbook.pipeline.smoke", str(package)],
        cwd=folder,
        env=_environ(config.path(".").resolve()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _environ(root: Path) -> dict[str, str]:
    """Return the environment without a tracking server, and with nothing of the project on Python's path."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    paths = kept.pop("PYTHONPATH", "").split(os.pathsep)
    others = [path for path in paths if path and not Path(path).resolve().is_relative_to(root)]
    return kept | {"PYTHONPATH": os.pathsep.join(others)} if others else kept


def largest_difference(recorded: pd.DataFrame, answered: pd.DataFrame) -> float:
    """Return how far two tables of predictions for the same rows are apart.

    Numbers are held against the largest of them, probabilities against 1; of labels it is the share of rows
    that have another. A value that only one side has is infinitely far.

    Example:
        >>> one = pd.DataFrame({"actual": [1.0, 9.0], "predicted": [1.0, 10.0]})
        >>> largest_difference(one, one.assign(predicted=[1.0, 11.0]))
        0.1
    """
    if list(recorded.columns) != list(answered.columns) or len(recorded) != len(answered):
        return float("inf")
    (_, first, one), (_, second, other) = columns_of(recorded), columns_of(answered)
    if not np.issubdtype(first.dtype, np.floating):
        distance = float(np.mean(first != second))
    else:
        distance = _distance(first, second, scale=float(np.nanmax(np.abs(first), initial=0.0)))
    if one is None or other is None:
        return distance
    return max(distance, _distance(one, other, scale=1.0))


def _distance(first: NDArray[Any], second: NDArray[Any], *, scale: float) -> float:
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    gaps = np.where(same, 0.0, np.abs(first - second)) / (scale or 1.0)
    return float(np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max(initial=0.0))


def main(words: list[str]) -> None:
    """Load a package and predict the rows in this folder; what goes wrong is the last line on stderr."""
    from modelbook.models.package import unpack
    from modelbook.models.predict import predict_rows

    record = ModelRecord.read(Path(_RECORD))
    rows = pl.read_parquet(_ASKED).to_pandas()
    try:
        predicted, probabilities = predict_rows(unpack(Path(words[0]), record), rows)
    except ModelbookError as error:
        sys.exit(f"{error.what} ({error.got})" if error.got else error.what)
    except Exception as error:  # noqa: BLE001 (the user's own code raises what it likes)
        sys.exit(type(error).__name__)  # its text may hold values
    table = pd.DataFrame({"actual": predicted, "predicted": predicted})
    if probabilities is not None:
        table[[f"probability_{label}" for label in record.classes]] = probabilities
    table.to_parquet(_ANSWERED)


if __name__ == "__main__":
    main(sys.argv[1:])
