"""The web application: predictions, the state of the server, and their description."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from modelbook.config import Config
from modelbook.logs import now
from modelbook.serving.accesslog import AccessLog
from modelbook.serving.connection import NOTE_CUT, READ_TIMEOUT
from modelbook.serving.current import Current, Serving
from modelbook.serving.door import VISIT, Door, version_of
from modelbook.serving.invocations import Invocations, Keep
from modelbook.serving.page import POLICY, as_page
from modelbook.serving.prediction import Predicted
from modelbook.serving.predictionlog import Kept, PredictionLog
from modelbook.serving.refusal import RequestRefusedError
from modelbook.serving.schema import Description
from modelbook.serving.telemetry import Telemetry

_JSON = "application/json"
_COUNT_EVERY_S = 1.0
_NO_ROUTE = {404: ("there is nothing here", "path"), 405: ("this is asked for in another way", "method")}

Writer = AccessLog | PredictionLog


def make_app(current: Current, settings: Config) -> Door:
    """Return the application that answers by the model that `current` holds.

    Neither MLflow nor scikit-learn nor pandas is imported for it.

    Args:
        current: The model that answers.
        settings: The project.

    Example:
        >>> app = make_app(Current(), Config())
        >>> sorted(route.path for route in app.app.routes)[:3]
        ['/docs', '/health', '/livez']
    """
    serving = settings.serving
    telemetry = Telemetry(current)
    log = AccessLog(sys.stderr, on_dropped=telemetry.unlogged) if serving.access_log else None
    kept = _prediction_log(settings, telemetry)
    invocations = Invocations(current, serving, telemetry=telemetry, keep=_keeper(kept) if kept else None)
    writers = [writer for writer in (log, kept) if writer is not None]

    def note_cut(status: int) -> bytes:
        telemetry.answered("other", status, seconds=0.0, cause="connection")
        return version_of(current)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        with _written(writers):
            invocations.begin()
            counting = asyncio.create_task(_count(telemetry))
            yield {READ_TIMEOUT: serving.read_timeout_s, NOTE_CUT: note_cut}
            counting.cancel()
            invocations.end()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=running)
    app.add_exception_handler(HTTPException, _refused)
    _add_probes(app, current)
    _add_pages(app, current, description=Description(current, settings), telemetry=telemetry)
    return Door(
        app,
        current=current,
        invocations=invocations,
        settings=serving,
        telemetry=telemetry,
        access_log=log,
    )


@contextmanager
def _written(writers: Sequence[Writer]) -> Iterator[None]:
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        for writer in writers:
            writer.end()


def _prediction_log(settings: Config, telemetry: Telemetry) -> PredictionLog | None:
    wanted = settings.serving.prediction_log
    if wanted.folder is None:
        return None
    return PredictionLog(settings.path(wanted.folder), wanted, on_dropped=telemetry.dropped)


def _keeper(log: PredictionLog) -> Keep:
    def keep(serving: Serving, request_id: str, predicted: Predicted) -> None:
        log.keep(
            Kept(now(), request_id, serving.name, serving.version, predicted.asked.rows, predicted.answer)
        )

    return keep


def _add_probes(app: FastAPI, current: Current) -> None:
    @app.get("/ping")
    @app.get("/health")
    async def ping() -> Response:
        return Response("\n", status_code=200 if current.serving else 404, media_type=_JSON)

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, Any]:
        response.status_code = 200 if current.is_ready else 503
        return state_of(current)

    @app.get("/version")
    async def mlflow_version() -> Response:
        return Response(version("mlflow"), media_type=_JSON)


def _add_pages(app: FastAPI, current: Current, *, description: Description, telemetry: Telemetry) -> None:
    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(telemetry.page(), headers={"content-type": telemetry.content_type})

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return Response(description.document(), media_type=_JSON)

    @app.get("/docs")
    async def docs() -> Response:
        page = as_page(current.serving)
        return HTMLResponse(page, headers={"content-security-policy": POLICY})


def state_of(current: Current) -> dict[str, Any]:
    """Return what is known of the model that answers.

    Example:
        >>> state_of(Current(alias="production"))["status"]
        'starting'
    """
    serving = current.serving
    status = "stopping" if current.is_stopping else "starting" if serving is None else "ready"
    if status == "ready" and current.is_stale:
        status = "stale"
    return {
        "status": status,
        "name": serving.name if serving else None,
        "version": serving.version if serving else None,
        "kind": serving.runtime.kind if serving else None,
        "alias": current.alias,
        "since": current.since.isoformat() if current.since else None,
        "problem": current.problem,
    }


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    what, cause = _NO_ROUTE.get(status, ("refused", "other"))
    headers = getattr(error, "headers", None)
    visit = request.scope[VISIT]
    visit.cause = cause
    content = RequestRefusedError(what, status=status).body(visit.request_id.decode())
    return Response(content, status_code=status, media_type=_JSON, headers=headers)


async def _count(telemetry: Telemetry) -> None:
    with suppress(asyncio.CancelledError):
        while True:
            telemetry.update()
            await asyncio.sleep(_COUNT_EVERY_S)
