"""The registry followed: asked every few seconds, and what it names put in place once that is verified."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from filelock import Timeout

from modelbook.config import Config
from modelbook.errors import ModelbookError, ModelRefusedError, NotFoundError, TrackingStoreError
from modelbook.logs import PipelineLogger, now
from modelbook.registry.reference import Reference
from modelbook.registry.shelf import Remembered, Shelf
from modelbook.registry.wanted import Wanted, digest_of, find_kept, find_wanted
from modelbook.serving.current import Current, Serving
from modelbook.serving.manifest import read_manifest, refused
from modelbook.serving.pool import close_runtime, open_served
from modelbook.serving.prepare import prepare
from modelbook.serving.runtime import Runtime, check_golden
from modelbook.serving.succession import Served, check_successor

RETRY_S = 300.0
PAUSE_S = 30.0


@dataclass(frozen=True)
class _Refusal:
    """A version that is not let in, why, and until when it is not tried again."""

    wanted: Wanted
    problem: str
    is_stale: bool
    until: float


class Follower:
    """Lets what a reference means in the registry be what answers.

    Args:
        config: The project, whose `serving.poll_s` says how often the registry is asked.
        reference: What is served.
        current: Where versions are put in place.
        server: Which start of a server this is; its other workers say the same.
        retry_s: After how long a version that was refused is tried again, where the registry still names it.
        clock: Says what time it is, in seconds.
    """

    def __init__(
        self,
        config: Config,
        reference: Reference,
        current: Current,
        *,
        server: str,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._reference, self._current = config, reference, current
        self._server, self._retry_s, self._clock = server, retry_s, clock
        self._shelf = Shelf(config)
        self._log = PipelineLogger("serve")
        self._refusal: _Refusal | None = None
        self._told: str | None = None
        self._next_last = -math.inf
        self._is_over = Event()
        self._thread = Thread(target=self._follow, name="modelbook-follow", daemon=True)

    def start(self) -> None:
        """Look every few seconds, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what is under way is left to end with the process."""
        self._is_over.set()

    def look(self) -> None:
        """Ask the registry once and put in place what it names; what answers answers on if that fails."""
        try:
            wanted = self._wanted()
            refusal = self._take(wanted)
            if refusal is None and not self._is_served(wanted):  # the registry names another one by now
                wanted = self._wanted()
                refusal = self._take(wanted)
        except Exception as error:  # noqa: BLE001 (a thread that ended would follow no more)
            self._note(_told(error), is_stale=isinstance(error, TrackingStoreError), details=_reason(error))
        else:
            problem = refusal.problem if refusal else _unpromoted(self._reference, wanted)
            self._note(problem, is_stale=refusal is not None and refusal.is_stale)
        if self._current.serving is None and self._clock() >= self._next_last:
            self._next_last = self._clock() + PAUSE_S
            self._serve_last()

    def _follow(self) -> None:
        while not self._is_over.wait(self._config.serving.poll_s):
            self.look()

    def _wanted(self) -> Wanted:
        wanted = find_wanted(self._config, self._reference)
        last = self._remembered_here()
        if last and last.alias and wanted.alias is None and self._reference.alias:
            raise NotFoundError(
                f"nothing is in {self._reference.alias} any more",
                where=wanted.name,
                hint="what was there last answers on until something is promoted",
            )
        return wanted

    def _take(self, wanted: Wanted) -> _Refusal | None:
        """Put a version in place unless it is; return why not where it is not let in."""
        if self._is_served(wanted):
            self._refusal = None
        elif self._refusal is None or self._refusal.wanted != wanted or self._clock() >= self._refusal.until:
            self._refusal = self._try(wanted)
        return self._refusal

    def _try(self, wanted: Wanted) -> _Refusal | None:
        try:
            runtime = self._verified(wanted, self._former())
        except Exception as error:  # noqa: BLE001 (whatever is wrong with it, it does not get a request)
            # A store that is away says nothing about the version.
            is_stale = isinstance(error, TrackingStoreError)
            ref = f"{wanted.name}/{wanted.version} is not let in"
            problem = f"{ref}: {_told(error)}"
            if not is_stale:
                self._current.reject(problem)
            self._note(problem, is_stale=is_stale, details=f"{ref}: {_reason(error)}")
            until = self._clock() + (PAUSE_S if is_stale else self._retry_s)
            return _Refusal(wanted, problem, is_stale, until)
        if self._is_still_wanted(wanted):
            self._put_in_place(wanted, runtime)
        else:
            close_runtime(runtime)
        return None

    def _is_still_wanted(self, wanted: Wanted) -> bool:
        """Return whether the registry names a version even now that it is ready, as far as it says."""
        try:
            return self._wanted() == wanted
        except Exception as error:  # noqa: BLE001 (as in look)
            return isinstance(error, TrackingStoreError)

    def _is_served(self, wanted: Wanted) -> bool:
        serving = self._current.serving
        return (
            serving is not None
            and serving.version == wanted.version
            and digest_of(wanted) in {None, serving.runtime.record.digest}
        )

    def _verified(self, wanted: Wanted, former: Served | None) -> Runtime:
        """Return a version that is what was recorded, answers as recorded, and is warm."""
        folder = self._shelf.bundle(prepare(self._config, wanted))
        try:
            runtime = self._open(folder)
        except (ModelRefusedError, NotFoundError) as error:
            self._log.warning(f"{_reason(error)}: it is made again")
            prepare(self._config, wanted, is_anew=True)
            runtime = self._open(folder)
        try:
            if former is not None:
                check_successor(former, runtime)
        except ModelRefusedError:
            close_runtime(runtime)
            raise
        return runtime

    def _open(self, folder: Path) -> Runtime:
        runtime = open_served(folder, processes=self._config.serving.model_processes)
        try:
            _check_digest(runtime, folder)
            check_golden(runtime)
        except BaseException:
            close_runtime(runtime)
            raise
        return runtime

    def _former(self) -> Served | None:
        """Return what answers, or what did before a worker of this server died."""
        if (serving := self._current.serving) is not None:
            return serving.runtime
        last = self._remembered_here()
        with suppress(ModelbookError):
            return read_manifest(self._shelf.bundle(last.digest)) if last else None
        return None

    def _remembered_here(self) -> Remembered | None:
        last = self._shelf.recall(self._reference)
        return last if last and last.server == self._server else None

    def _put_in_place(self, wanted: Wanted, runtime: Runtime) -> None:
        self._current.swap(Serving(runtime, wanted.name, wanted.version))
        self._log.info(f"{wanted.name}/{wanted.version} answers now ({runtime.kind})")
        self._note(_unpromoted(self._reference, wanted), is_stale=False)
        note = Remembered(
            name=wanted.name,
            version=wanted.version,
            digest=runtime.record.digest,
            alias=wanted.alias,
            server=self._server,
            moment=now(),
        )
        try:
            self._shelf.remember(self._reference, note)
            # Whoever makes a bundle meanwhile may take minutes; it is cleared the next time.
            with suppress(Timeout), self._shelf.alone(timeout_s=0):
                self._shelf.clear(besides=[note.digest])
        except ModelbookError as error:
            self._log.warning(f"which version answers cannot be noted: {_reason(error)}")

    def _note(self, problem: str | None, *, is_stale: bool, details: str | None = None) -> None:
        if problem != self._told:
            self._told = problem
            self._log.warning(details or problem or "what answers is what the registry names")
        self._current.problem, self._current.is_stale = problem, is_stale

    def _serve_last(self) -> None:
        try:
            last = find_last(self._config, self._reference)
            if self._refusal and self._refusal.wanted.version == last.version:
                return
            runtime = self._verified(last, None)
        except Exception as error:  # noqa: BLE001 (as in look)
            self._log.error(f"no version is there to answer meanwhile: {_reason(error)}")
            return
        self._current.swap(Serving(runtime, last.name, last.version))
        self._log.warning(f"{last.name}/{last.version}, which was verified before, answers meanwhile")


def find_last(config: Config, reference: Reference) -> Wanted:
    """Return the version that answered last, or else what the local registry last knew.

    Raises:
        NotFoundError: There is neither.
    """
    last = Shelf(config).recall(reference)
    return Wanted(last.name, last.version, last.digest, last.alias) if last else find_kept(config, reference)


def make_ready(config: Config, reference: Reference) -> Wanted:
    """Return the version that a server is about to begin with, once its bundle is there.

    Raises:
        NotFoundError: There is no such version.
        ModelRefusedError: It is not what was recorded, and no other was verified before.
        TrackingStoreError: The store cannot be used, and no version was verified before.
        StorageError: The project's folder cannot be written or the disk is full, likewise.
        ModelbookError: Making it ready failed otherwise, likewise.
    """
    try:
        wanted = find_wanted(config, reference)
        prepare(config, wanted)
    except NotFoundError:
        raise
    except ModelbookError as error:
        PipelineLogger("serve").warning(_reason(error))
        try:
            wanted = find_last(config, reference)
            prepare(config, wanted)
        except ModelbookError:
            raise error from None
    return wanted


def _check_digest(runtime: Runtime, folder: Path) -> None:
    if (digest := runtime.record.digest) != folder.name:
        raise refused(folder, f"it is of the model {digest[:12]}")


def _unpromoted(reference: Reference, wanted: Wanted) -> str | None:
    if reference.alias is None or wanted.alias is not None:
        return None
    return f"nothing of {wanted.name} is in {reference.alias}: the newest version answers, {wanted.version}"


def _told(error: Exception) -> str:
    """Return what anybody may know of an error: what a store says may name machines and users."""
    return error.what if isinstance(error, TrackingStoreError) else _reason(error)


def _reason(error: Exception) -> str:
    if not isinstance(error, ModelbookError):
        return type(error).__name__  # its text may quote rows
    return f"{error.what} ({error.got})" if error.got else error.what
