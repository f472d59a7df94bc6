"""A server with the smallest application: `python tiny_server.py FOLDER REF PORT WORKERS POLL_S`.

A POST to `/` answers with what the served model predicts for the first row of the project's test rows, after
as many seconds as its body says. Any other path says how things stand.
"""

import asyncio
import os
import sys
from pathlib import Path

import numpy as np
import orjson

from modelbook.config import load_config
from modelbook.serving.current import Current
from modelbook.serving.server import serve

ROW = {"area": np.array([100.0]), "rooms": np.array([4.0]), "town": np.array(["Porto"], dtype=object)}


def make_app(current: Current, config):
    """Return the application."""
    del config

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["method"] == "POST":
            content = await _body(receive)
            with current.lease() as serving:
                await asyncio.sleep(float(content or 0))
                predicted = await asyncio.to_thread(serving.runtime.predict, ROW)
            version = serving.version.encode()
            await _answer(send, {"predictions": predicted.predictions.tolist()}, version=version)
        else:
            await _answer(send, standing(current), status=200 if current.is_ready else 503)

    return app


def standing(current):
    """Return all that a server says of itself."""
    names = ("is_ready", "is_stale", "problem", "swaps", "rejected")
    told = {name: getattr(current, name) for name in names}
    return told | {"version": current.serving and current.serving.version, "pid": os.getpid()}


async def _live(receive, send):
    for kind in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{kind}.complete"})


async def _body(receive):
    content = b""
    while True:
        message = await receive()
        content += message.get("body", b"")
        if not message.get("more_body"):
            return content


async def _answer(send, content, *, version=b"", status=200):
    body = orjson.dumps(content)
    headers = [(b"x-modelbook-version", version), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    root, ref, port, workers, poll_s = sys.argv[1:]
    config = load_config(Path(root))
    own = {"port": int(port), "workers": int(workers), "poll_s": float(poll_s)}
    serve(
        ref,
        config=config.model_copy(update={"serving": config.serving.model_copy(update=own)}),
        make_app=make_app,
        told=lambda wanted, address: sys.stderr.write(f"{wanted.name}/{wanted.version} at {address}\n"),
    )
