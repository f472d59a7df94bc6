"""What a server counts, for Prometheus."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.values import ValueClass

from modelbook.serving.current import Current

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 10, 100, 1_000, 10_000, 100_000)


class Telemetry:
    """Counts requests, errors and rows.

    With several worker processes each writes its counts into the folder that PROMETHEUS_MULTIPROC_DIR names,
    and whichever is asked adds up those of all, also of workers that are gone.

    Args:
        current: The model that answers.
        clock: Says what time it is, in seconds since 1970.

    Attributes:
        in_flight: Requests that are worked on in this process.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, current: Current, *, clock: Callable[[], float] = time) -> None:
        self.in_flight = 0
        self._current = current
        self._clock = clock
        self._registry = CollectorRegistry()
        self._swaps_seen = self._rejected_seen = 0
        self._model: tuple[str, ...] | None = None
        self._make_metrics()
        self._requests_of: dict[tuple[str, int], Any] = {}

    def _make_metrics(self) -> None:
        own: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("modelbook_requests", "Requests answered.", ("path", "status"), **own)
        self._seconds = Histogram(
            "modelbook_request_seconds", "Time to the answer of an invocation.", buckets=_SECONDS, **own
        )
        self._rows = Histogram("modelbook_request_rows", "Rows of an invocation.", buckets=_ROWS, **own)
        self._errors = Counter("modelbook_errors", "Requests refused or failed.", ("cause",), **own)
        self._swaps = Counter("modelbook_model_swaps", "Versions put in the place of another.", **own)
        self._rejected = Counter("modelbook_model_rejected", "Versions not let in.", **own)
        self._dropped = Counter("modelbook_prediction_log_dropped_rows", "Rows not logged.", **own)
        self._unlogged = Counter("modelbook_access_log_dropped_lines", "Requests not logged.", **own)
        live: dict[str, Any] = own | {"multiprocess_mode": "livesum"}
        self._busy = Gauge("modelbook_requests_in_flight", "Requests worked on.", **live)
        self._stale = Gauge("modelbook_stale_workers", "Workers that cannot ask the registry.", **live)
        labels = ("name", "version", "kind")
        self._serving = Gauge("modelbook_model_workers", "Workers that answer by it.", labels, **live)

    def answered(self, path: str, status: int, *, seconds: float, cause: str | None = None) -> None:
        """Count an answer."""
        key = path, status
        counter = self._requests_of.get(key)
        if counter is None:
            counter = self._requests_of[key] = self._requests.labels(path, str(status))
        counter.inc()
        if path == "/invocations":
            self._seconds.observe(seconds)
        if cause is not None:
            self._errors.labels(cause).inc()

    def predicted(self, rows: int) -> None:
        """Count the rows of a request that was answered."""
        self._rows.observe(rows)

    def dropped(self, rows: int) -> None:
        """Count rows that the prediction log did not take."""
        self._dropped.inc(rows)

    def unlogged(self, requests: int) -> None:
        """Count requests of which the log has no line."""
        self._unlogged.inc(requests)

    def update(self) -> None:
        """Take over what is known of the model; asked for regularly, so that other workers can read it."""
        current = self._current
        self._busy.set(self.in_flight)
        self._stale.set(current.is_stale)
        self._swaps.inc(current.swaps - self._swaps_seen)
        self._rejected.inc(current.rejected - self._rejected_seen)
        self._swaps_seen, self._rejected_seen = current.swaps, current.rejected
        serving = current.serving
        model = None if serving is None else (serving.name, serving.version, serving.runtime.kind)
        if model != self._model:
            if self._model is not None:
                self._serving.labels(*self._model).set(0)
            if model is not None:
                self._serving.labels(*model).set(1)
            self._model = model

    def page(self) -> bytes:
        """Return everything as Prometheus reads it."""
        self.update()
        if ValueClass.__name__ != "MmapedValue":
            return generate_latest(self._registry)
        _forget_dead(Path(os.environ[_FOLDER]))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_dead(folder: Path) -> None:
    """Let gauges of processes that are gone count no more; what they counted stays counted."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):  # a process of somebody else's is no worker
            with suppress(FileNotFoundError):  # another worker was quicker
                mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
