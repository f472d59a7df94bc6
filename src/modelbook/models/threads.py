"""Work side by side: each piece by its share of the threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Made = TypeVar("Made")


def threads_each(pieces: int, threads: int) -> int:
    """Return the threads that each of several pieces of work has for itself, at least one.

    Example:
        >>> threads_each(5, 2), threads_each(2, 8)
        (1, 4)
    """
    return max(1, threads // pieces)


def side_by_side(work: Callable[[Item], Made], items: Sequence[Item], *, threads: int) -> list[Made]:
    """Return what becomes of each item, in their order; libraries keep to each item's share of the threads.

    Several fits by one thread each are done sooner than one after the other by all threads, which wait for
    each other at every step, the more so the busier the machine is.

    Args:
        work: What is done with an item; it must let go of the interpreter to gain by this.
        items: The items, at least one.
        threads: Threads in all.

    Example:
        >>> side_by_side(str, [1, 2, 3], threads=2)
        ['1', '2', '3']
    """
    share = threads_each(len(items), threads)
    # OpenMP's limit is a thread's own, that of BLAS is everybody's.
    with (
        threadpool_limits(share),
        ThreadPoolExecutor(
            min(threads, len(items)), initializer=threadpool_limits, initargs=(share,)
        ) as pool,
    ):
        return list(pool.map(work, items))
