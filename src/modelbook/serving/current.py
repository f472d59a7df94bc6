"""The model that answers now, held by each request for as long as it needs it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from types import TracebackType

from modelbook.errors import NotReadyError
from modelbook.logs import now
from modelbook.serving.runtime import Runtime


@dataclass(frozen=True)
class Serving:
    """A version that answers.

    Attributes:
        runtime: Predicts.
        name: The name that the model is registered under.
        version: Its version, as every answer of it says.
    """

    runtime: Runtime
    name: str
    version: str


class Current:
    """Says which version answers, and counts the requests on each; safe in any thread.

    Args:
        alias: The alias that is followed; None for a version that never changes.
        on_ended: Told of a version that was replaced, once its last request has ended.
        clock: Says what time it is.

    Attributes:
        alias: The alias that is followed.
        swaps: How often a version was put in the place of another.
        rejected: How many versions were not let in, each counted once for each time that it was tried.
        problem: Why what answers is not what the registry says; None where it is.
        is_stale: Whether the registry could not be asked lately.
        is_stopping: Whether the server is about to end: it answers, and wants no new clients.
        since: When the version that answers began to.

    Example:
        >>> current = Current(alias="production")
        >>> current.is_ready
        False
        >>> current.swap(Serving(runtime=None, name="houses", version="3"))
        >>> with current.lease() as serving:
        ...     serving.version
        '3'
    """

    def __init__(
        self,
        *,
        alias: str | None = None,
        on_ended: Callable[[Serving], None] = lambda _: None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.alias = alias
        self.swaps = 0
        self.rejected = 0
        self.problem: str | None = None
        self.is_stale = False
        self.is_stopping = False
        self.since: datetime | None = None
        self._held: _Held | None = None
        self._lock = Lock()
        self._on_ended = on_ended
        self._clock = clock

    @property
    def serving(self) -> Serving | None:
        """The version that answers now; None before the first."""
        held = self._held
        return held.serving if held else None

    @property
    def is_ready(self) -> bool:
        """Whether new clients are welcome."""
        return self._held is not None and not self.is_stopping

    def lease(self) -> "Lease":
        """Return a context in which one version answers, whatever is put in its place meanwhile.

        Raises:
            NotReadyError: No version answers yet; on entering.
        """
        return Lease(self)

    def swap(self, serving: Serving) -> None:
        """Let a version answer every request that begins from now on; those under way keep theirs."""
        with self._lock:
            former, self._held = self._held, _Held(serving)
            self.since = self._clock()
            if former is not None:
                self.swaps += 1
                former.is_replaced = True
            has_ended = former is not None and former.requests == 0
        if former is not None and has_ended:
            self._on_ended(former.serving)

    def reject(self, problem: str) -> None:
        """Count a version that was not let in, and say why."""
        with self._lock:
            self.rejected += 1
        self.problem = problem

    def _begin(self) -> "_Held":
        with self._lock:
            if self._held is None:
                raise NotReadyError("no model is served yet", got=self.problem, hint="try again in a while")
            self._held.requests += 1
            return self._held

    def _end(self, held: "_Held") -> None:
        with self._lock:
            held.requests -= 1
            has_ended = held.is_replaced and held.requests == 0
        if has_ended:
            self._on_ended(held.serving)


class Lease:
    """A version, held for one request; may be entered in one thread and left in another."""

    __slots__ = ("_current", "_held")

    def __init__(self, current: Current) -> None:
        self._current = current
        self._held: _Held | None = None

    def __enter__(self) -> Serving:
        self._held = self._current._begin()  # noqa: SLF001 (a lease is the other half of Current)
        return self._held.serving

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._current._end(held)  # noqa: SLF001


class _Held:
    """A version, and how many requests are on it."""

    __slots__ = ("is_replaced", "requests", "serving")

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.requests = 0
        self.is_replaced = False
