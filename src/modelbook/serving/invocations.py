"""Requests for predictions, worked on within limits: so many at once, so long, so large."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from modelbook.config import ServingConfig
from modelbook.serving.current import Current, Serving
from modelbook.serving.incoming import Intake, Receive, decompressed
from modelbook.serving.pool import TooLongError
from modelbook.serving.prediction import Predicted, Predictor
from modelbook.serving.refusal import RequestRefusedError
from modelbook.serving.telemetry import Telemetry

_LOOP_BYTES = 16_384  # larger bodies are read in a thread: others wait while the loop works
_LOOP_ROWS = 32  # of the housing forest take some 0.4 ms, and handing them to a thread 0.1 ms
_UPLOADS = 4  # bodies that may be under way for each request that may be worked on

Keep = Callable[[Serving, str, Predicted], None]


class Noted(Protocol):
    """What is noted of a request while it is answered."""

    request_id: bytes
    version: bytes
    rows: int | None


class Invocations:
    """Answers requests for predictions.

    What a compiled model does with few rows takes less than handing it to a thread, so the event loop does
    it. What it does with many is done by as many threads as there are processors, and where the model's own
    code answers, by as many as there are processes of it: each waits for one, and ends it when time is up.

    Args:
        current: The model that answers.
        settings: The limits.
        telemetry: Counts.
        keep: Takes what was predicted for the prediction log; None keeps nothing.
    """

    def __init__(
        self, current: Current, settings: ServingConfig, *, telemetry: Telemetry, keep: Keep | None = None
    ) -> None:
        self._current = current
        self._settings = settings
        self._telemetry = telemetry
        self._keep = keep
        self._predictor: Predictor | None = None
        self._intake = Intake(
            limit_bytes=settings.max_body_bytes,
            timeout_s=settings.read_timeout_s,
            places=_UPLOADS * settings.max_in_flight,
        )
        self.begin()

    def begin(self) -> None:
        """Have threads for work; they start when there is some."""
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="predict")
        self._waiting_threads = ThreadPoolExecutor(self._settings.model_processes, thread_name_prefix="await")

    async def answer(
        self, method: str, headers: Mapping[bytes, bytes], *, receive: Receive, noted: Noted
    ) -> bytes:
        """Return the answer's JSON.

        Raises:
            RequestRefusedError: The request cannot be taken, or not now, or took too long.
            NotReadyError: There is no model yet.
            ModelbookError: The model does not take the rows, or failed.
            ClientGoneError: Nobody waits for it.
        """
        if method != "POST":
            raise RequestRefusedError("rows are sent with POST", status=405, cause="method")
        self._refuse_if_busy()  # before a large body is taken in for nothing
        body = await self._intake.take(receive, headers)
        self._refuse_if_busy()
        self._telemetry.in_flight += 1
        try:
            encoding = headers.get(b"content-encoding")
            if encoding is not None:
                limit_bytes = self._settings.max_body_bytes
                body = await asyncio.to_thread(decompressed, body, encoding, limit_bytes=limit_bytes)
            content_type = headers.get(b"content-type")
            return await self._predict(body, content_type.decode("latin-1") if content_type else None, noted)
        finally:
            self._telemetry.in_flight -= 1

    def end(self) -> None:
        """Take no more work; what is at work ends by itself."""
        for threads in (self._threads, self._waiting_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    def _refuse_if_busy(self) -> None:
        if self._telemetry.in_flight >= self._settings.max_in_flight:
            what = "the server works on as many requests as it may"
            raise RequestRefusedError(what, status=503, cause="busy", retry_after_s=1)

    async def _predict(self, body: bytes, content_type: str | None, noted: Noted) -> bytes:
        until = time.monotonic() + self._settings.timeout_s
        with self._current.lease() as serving:
            noted.version = serving.version.encode()
            predictor = self._predictor_of(serving)
            if len(body) > _LOOP_BYTES:
                predicted = await self._in_thread(
                    partial(_read_and_predict, predictor, body, content_type, until=until), predictor
                )
            else:
                asked = predictor.read(body, content_type)
                if predictor.runtime.kind == "compiled" and asked.rows_asked <= _LOOP_ROWS:
                    predicted = predictor.predict(asked)
                else:
                    predicted = await self._in_thread(
                        partial(predictor.predict, asked, until=until), predictor
                    )
        noted.rows = predicted.asked.rows_asked
        self._telemetry.predicted(noted.rows)
        if self._keep is not None:
            self._keep(serving, noted.request_id.decode(), predicted)
        return predicted.content

    def _predictor_of(self, serving: Serving) -> Predictor:
        if self._predictor is None or self._predictor.serving is not serving:
            self._predictor = Predictor(serving, has_parquet=self._settings.accept_parquet)
        return self._predictor

    async def _in_thread(self, work: Callable[[], Predicted], predictor: Predictor) -> Predicted:
        timeout_s = self._settings.timeout_s
        threads = self._threads if predictor.runtime.kind == "compiled" else self._waiting_threads
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(threads, work)
        except (TimeoutError, TooLongError):
            what = f"the model did not answer within {timeout_s:g} s"
            raise RequestRefusedError(what, status=504, cause="timeout") from None


def _read_and_predict(
    predictor: Predictor, body: bytes, content_type: str | None, *, until: float
) -> Predicted:
    return predictor.predict(predictor.read(body, content_type), until=until)
