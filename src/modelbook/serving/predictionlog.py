"""Rows and their predictions, kept as Parquet aside of the answers, to watch the model by.

pyarrow is imported by the thread that writes, and only where something is written.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelbook.config import PredictionLogConfig
from modelbook.files import free_name, whole_file
from modelbook.logs import PipelineLogger, now
from modelbook.serving.answers import Answer, Rows

if TYPE_CHECKING:
    import pyarrow as pa

_LOOK_EVERY_S = 0.5
_SUFFIX = ".parquet"
_MOST_TEXT = 100_000_000


class Kept(NamedTuple):
    """What is kept of a request.

    Attributes:
        moment: When it was answered.
        request_id: What it was called.
        model: The name of the model.
        version: Its version.
        rows: The rows as the model took them.
        answer: What it said.
    """

    moment: datetime
    request_id: str
    model: str
    version: str
    rows: Rows
    answer: Answer

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.answer.predictions)

    @property
    def text(self) -> int:
        """How many characters of text there are in the rows."""
        texts = (column for column in self.rows.values() if column.dtype == object)
        return sum(sum(map(len, filter(None, column))) for column in texts)


class PredictionLog:
    """Writes what it is given in a thread of its own; what has no place is dropped and counted.

    Each file holds requests on one version: `time`, `request_id`, `model`, `version`, the columns that the
    model takes, `prediction`, and `probabilities` where they were asked for. A file is whole or not there.

    Args:
        folder: Where to.
        settings: How much, and how long a file is waited for.
        on_dropped: Told how many rows were dropped.
    """

    def __init__(
        self,
        folder: Path,
        settings: PredictionLogConfig,
        *,
        on_dropped: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._folder, self._settings, self._on_dropped = folder, settings, on_dropped
        self._waiting: deque[Kept] = deque()
        self._rows = self._text = 0
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()
        self._number = 0
        self._problems: set[str] = set()

    def start(self) -> None:
        """Begin to write."""
        self._is_over.clear()
        self._thread = threading.Thread(target=self._write_regularly, name="prediction-log", daemon=True)
        self._thread.start()

    def end(self, timeout_s: float = 2.0) -> None:
        """Write what is left, for as long as that may take; what is not written by then counts as dropped."""
        self._is_over.set()
        if self._thread is None:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive() and (rows := self._rows):
            self._on_dropped(rows)
            PipelineLogger("serve").error(f"predictions of {rows} rows were not written in time")

    def keep(self, kept: Kept) -> None:
        """Take a request, unless too many wait for the disk."""
        if not kept.size:
            return
        text = kept.text
        with self._lock:
            is_room = self._rows + kept.size <= self._settings.max_waiting_rows
            if is_room and self._text + text <= _MOST_TEXT:
                self._rows += kept.size
                self._text += text
                self._waiting.append(kept)
                return
        self._on_dropped(kept.size)

    def _write_regularly(self) -> None:
        enough = min(self._settings.rows_per_file, self._settings.max_waiting_rows // 2)
        while not self._is_over.wait(_LOOK_EVERY_S):
            is_full = self._rows >= enough or self._text >= _MOST_TEXT // 2
            is_late = time.monotonic() - self._began >= self._settings.seconds_per_file
            if is_late or is_full:
                self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        self._began = time.monotonic()
        if not self._waiting:
            return
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for batch in batches(waiting, self._settings.rows_per_file):
            rows = sum(kept.size for kept in batch)
            if not self._goes_well("predictions cannot be kept", partial(self._write, batch)):
                self._on_dropped(rows)
            with self._lock:
                self._rows -= rows
                self._text -= sum(kept.text for kept in batch)
        self._goes_well("old predictions cannot be removed", self._clear)

    def _goes_well(self, problem: str, act: Callable[[], None]) -> bool:
        """Return whether something could be done; a problem is said once until it is over."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 (whatever the disk does, answers go on)
            if problem not in self._problems:
                self._problems.add(problem)
                PipelineLogger("serve").error(f"{problem}: {type(error).__name__}")
            return False
        self._problems.discard(problem)
        return True

    def _write(self, batch: list[Kept]) -> None:
        from pyarrow import parquet

        table = as_table(batch)
        if not len(table):
            return
        self._number += 1
        stamp = f"{now():%Y%m%d_%H%M%S}_{os.getpid()}_{self._number:06d}"
        with whole_file(self._folder / f"predictions_{stamp}{_SUFFIX}") as path:
            parquet.write_table(table, path, compression="zstd")

    def _clear(self) -> None:
        """Remove the oldest files beyond what all of them may take."""
        files = sorted(self._folder.glob(f"predictions_*{_SUFFIX}"), key=lambda path: path.name)
        sizes = {path: _size(path) for path in files}
        excess = sum(sizes.values()) - self._settings.max_mb * 1e6
        for path in files[:-1]:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= sizes[path]


def batches(waiting: deque[Kept], most_rows: int) -> Iterator[list[Kept]]:
    """Take requests out, and yield those that go into one file: on one version, asked for the same, in order.

    Example:
        >>> import numpy as np
        >>> answer = Answer(np.array([1.5]), None)
        >>> waiting = [Kept(datetime.min, name, "houses", name[0], {}, answer) for name in ("1a", "2a", "1b")]
        >>> [[kept.request_id for kept in batch] for batch in batches(deque(waiting), 100)]
        [['1a', '1b'], ['2a']]
    """
    alike: dict[tuple[str, str, bool], deque[Kept]] = {}
    while waiting:
        kept = waiting.popleft()
        alike.setdefault(_kind(kept), deque()).append(kept)
    for others in alike.values():
        while others:
            batch = [others.popleft()]
            rows = batch[0].size
            while others and rows < most_rows:
                batch.append(others.popleft())
                rows += batch[-1].size
            yield batch


def as_table(batch: list[Kept]) -> "pa.Table":
    """Return requests that asked the same of one version as a table.

    Example:
        >>> import numpy as np
        >>> rows, answer = {"rooms": np.array([3.0, np.nan])}, Answer(np.array([1.5, 2.5]), None)
        >>> kept = Kept(datetime(2026, 1, 31, tzinfo=UTC), "7", "houses", "1", rows, answer)
        >>> as_table([kept]).drop(["time", "model"]).to_pylist()[1]
        {'request_id': '7', 'version': '1', 'rooms': None, 'prediction': 2.5}
    """
    import numpy as np
    import pyarrow as pa

    sizes = [kept.size for kept in batch]
    columns: dict[str, Any] = {
        "time": pa.array(
            np.repeat([kept.moment.astimezone(UTC).replace(tzinfo=None) for kept in batch], sizes)
        ),
        "request_id": pa.array(np.repeat([kept.request_id for kept in batch], sizes), pa.string()),
        "model": pa.array(np.repeat([kept.model for kept in batch], sizes), pa.string()),
        "version": pa.array(np.repeat([kept.version for kept in batch], sizes), pa.string()),
    }
    for name in batch[0].rows:
        values = np.concatenate([kept.rows[name] for kept in batch])
        kind = pa.string() if values.dtype == object else None  # also where every value is missing
        columns[free_name(name, columns)] = pa.array(values, kind, from_pandas=True)
    predictions = np.concatenate([kept.answer.predictions for kept in batch])
    columns[free_name("prediction", columns)] = pa.array(predictions, from_pandas=True)
    given = [kept.answer.probabilities for kept in batch if kept.answer.probabilities is not None]
    if given:
        probabilities = pa.array(np.concatenate(given).tolist(), pa.list_(pa.float64()))
        columns[free_name("probabilities", columns)] = probabilities
    return pa.table(columns)


def _kind(kept: Kept) -> tuple[str, str, bool]:
    return kept.model, kept.version, kept.answer.probabilities is None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another worker was quicker
        return 0
