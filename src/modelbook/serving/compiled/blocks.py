"""Work on many rows shared out among threads; a row's result does not depend on who made it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Blocks:
    """Threads that are started when there is first enough to do.

    Args:
        threads: How many work at once, the caller among them.

    Example:
        >>> done = []
        >>> Blocks(2).run(lambda block: done.append((block.start, block.stop)), 100, is_worth_it=True)
        >>> sorted(done)
        [(0, 56), (56, 100)]
    """

    # A multiple of what the kernel takes at once, so that only the last block has a rest.
    _STEP = 8

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def run(self, work: Callable[[slice], None], rows: int, *, is_worth_it: bool) -> None:
        """Call a function for blocks that together are all rows; for one where it is not worth more."""
        if self._threads == 1 or rows <= self._STEP or not is_worth_it:
            work(slice(0, rows))
            return
        steps = -(-rows // (self._threads * self._STEP))
        size = max(1, steps) * self._STEP
        first, *others = [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
        waiting = [self._started().submit(work, block) for block in others]
        work(first)
        for future in waiting:
            future.result()

    def _started(self) -> ThreadPoolExecutor:
        with self._starting:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads - 1, thread_name_prefix="trees")
            return self._pool
