"""A version made ready to be opened, by a process of its own that ends when that is done."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

from pydantic import ValidationError

from modelbook.config import Config
from modelbook.errors import (
    ModelbookError,
    ModelRefusedError,
    NotFoundError,
    StorageError,
    StoreAwayError,
    TrackingStoreError,
)
from modelbook.logs import PipelineLogger
from modelbook.registry.shelf import Shelf
from modelbook.registry.wanted import Wanted, digest_of
from modelbook.serving.making import Order, Outcome

LIMIT_S = 600.0

_ERRORS = {
    error.code: error
    for error in (ModelRefusedError, NotFoundError, StorageError, StoreAwayError, TrackingStoreError)
}


def prepare(config: Config, wanted: Wanted, *, is_anew: bool = False, limit_s: float = LIMIT_S) -> str:
    """Let a version's bundle lie in the project's shelf, and return the digest by which it is found there.

    Of several processes that want it one makes it, and the others wait for it.

    Args:
        config: The project.
        wanted: The version.
        is_anew: Whether a bundle that is there is made again.
        limit_s: How long making it may take.

    Raises:
        NotFoundError: There is no such version, or its files are gone.
        ModelRefusedError: It is not what was recorded, or holds what is not trusted.
        TrackingStoreError: The store cannot be used.
        StorageError: The project's folder cannot be written or the disk is full.
        ModelbookError: Making it failed otherwise.
    """
    shelf, digest = Shelf(config), digest_of(wanted)
    if digest and not is_anew and shelf.bundle(digest).is_dir():
        return digest
    with shelf.alone():
        if digest and not is_anew and shelf.bundle(digest).is_dir():
            return digest
        return _made(config, wanted, limit_s=limit_s)


def _made(config: Config, wanted: Wanted, *, limit_s: float) -> str:
    order = Order(
        settings=config.model_dump(mode="json", by_alias=True),
        root=str(config.root),
        name=wanted.name,
        version=wanted.version,
        digest=digest_of(wanted),
    )
    outcome = _outcome(_run(order, limit_s), where=f"{wanted.name}/{wanted.version}")
    for warning in outcome.warnings:
        PipelineLogger("serve").warning(warning)
    if outcome.digest is None:
        raise _as_error(outcome.error or {})
    return outcome.digest


def _run(order: Order, limit_s: float) -> tuple[int, bytes]:
    """Return the exit code of the process, and what it answered; past its time it is killed with its own."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "modelbook.serving.making"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the server, which ends this one itself
    ) as process:
        try:
            answer, _ = process.communicate(order.to_bytes(), timeout=limit_s)
        except subprocess.TimeoutExpired:
            answer = b""
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, answer


def _outcome(ended: tuple[int, bytes], *, where: str) -> Outcome:
    code, answer = ended
    with suppress(ValidationError):
        return Outcome.model_validate_json(answer)
    raise ModelbookError(
        "the process that makes a model ready ended without an answer",
        where=where,
        got=f"signal {-code}" if code < 0 else f"exit code {code}",
        hint="see what it printed; it may have had too little memory, or taken too long",
    )


def _as_error(fields: dict[str, str | int | None]) -> ModelbookError:
    """Return an error of the process as one of ours."""
    kind = _ERRORS.get(str(fields.get("code")), ModelbookError)
    texts = {key: str(word) for key, word in fields.items() if word is not None}
    return kind(
        texts.get("what", "making the model ready failed"),
        where=texts.get("where"),
        got=texts.get("got"),
        expected=texts.get("expected"),
        hint=texts.get("next"),
    )
