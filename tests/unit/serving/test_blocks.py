"""Work shared out among threads."""

import threading

import numpy as np
import pytest

from modelbook.serving.compiled.blocks import Blocks


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 100, 1000])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_row_once(rows: int, threads: int):
    """Each row is in exactly one block, and each block but the last is whole for the kernel."""
    seen = np.zeros(rows, dtype=int)

    def work(block: slice) -> None:
        seen[block] += 1
        assert block.start % 8 == 0

    Blocks(threads).run(work, rows, is_worth_it=True)
    assert (seen == 1).all()


def test_a_little_starts_no_thread():
    """One row is worth no thread: the caller does it."""
    before = threading.active_count()
    callers = []
    Blocks(4).run(lambda _: callers.append(threading.current_thread()), 1, is_worth_it=False)
    assert callers == [threading.current_thread()]
    assert threading.active_count() == before


def test_an_error_is_told():
    """What fails in another thread fails for the caller."""

    def work(block: slice) -> None:
        if block.start:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Blocks(2).run(work, 100, is_worth_it=True)
