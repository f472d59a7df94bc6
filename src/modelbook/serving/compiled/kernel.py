"""Rows walked through trees, in machine code that other threads need not wait for.

A node takes 16 bytes and two children lie side by side: a step is an addition, where a jump would have to be
guessed. Eight walks are made in turns, so that the processor has something to do while it waits for memory:
those of eight rows through one tree, or of one row through eight trees. Sums are added tree after tree in
either case, so a row's sum is the same alone and among others.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

# value: the largest number that goes left; of a set of categories where it begins among the words; of a leaf
# what it adds, or the row of a table. test: a feature and the two bits above it; of a leaf -1. child: the
# left child, with the right one behind it.
NODE = np.dtype([("value", np.float64), ("test", np.int32), ("child", np.int32)])
FEATURE = 0x00FF_FFFF
MISSING_LEFT = 0x0100_0000
IS_SET = 0x0200_0000
LEAF = -1
NOWHERE = 0  # the first node is a leaf of no tree, where a lane with nothing to do may stand
WORD_BITS = 32

_LANES = 8
_BLOCK_ROWS = 1024


def machine_code(function: Callable[..., Any]) -> Any:
    """Return a function that is compiled on first use, and kept on disk where there is a place for it."""
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither the package's own folder nor the user's can be written
        return numba.njit(nogil=True, error_model="numpy")(function)


@machine_code
def add_leaves(trees: Any, matrix: Any, sums: Any) -> None:
    """Add to the sums of each row what the leaves hold that it falls into.

    Args:
        trees: Five arrays: the nodes of all trees, as `NODE` has them; where each tree begins, int64
            `(n_trees,)`; which sum each tree adds to, int64 `(n_trees,)`; what leaves hold where that is
            more than a number, `(n_leaves, n_sums)`, else without rows; sets of categories as bits, uint32:
            for each the number of words, and then those.
        matrix: The features, float64 `(n_rows, n_features)`.
        sums: `(n_rows, n_sums)`; float32 adds up in float32.
    """
    nodes, roots, columns, leaves, words = trees
    lanes = np.empty(_LANES, np.int64)
    few = len(matrix) - len(matrix) % _LANES
    for first in range(0, few, _BLOCK_ROWS):
        last = min(first + _BLOCK_ROWS, few)
        for tree in range(len(roots)):
            for row in range(first, last, _LANES):
                lanes[:] = roots[tree]
                _walk(nodes, lanes, words, matrix, row, 1)
                for lane in range(_LANES):
                    _add(sums, row + lane, columns[tree], nodes[lanes[lane]].value, leaves)
    for row in range(few, len(matrix)):
        for tree in range(0, len(roots), _LANES):
            count = min(_LANES, len(roots) - tree)
            for lane in range(_LANES):
                lanes[lane] = roots[tree + lane] if lane < count else NOWHERE
            _walk(nodes, lanes, words, matrix, row, 0)
            for lane in range(count):
                _add(sums, row, columns[tree + lane], nodes[lanes[lane]].value, leaves)


@machine_code
def _walk(nodes: Any, lanes: Any, words: Any, matrix: Any, row: int, step: int) -> None:  # noqa: PLR0917
    """Move each lane from its node to the leaf that its row falls into; the rows are `step` apart."""
    is_moving = True
    while is_moving:
        is_moving = False
        for lane in range(_LANES):
            node = nodes[lanes[lane]]
            if node.test >= 0:
                number = matrix[row + lane * step, node.test & FEATURE]
                is_left = (number <= node.value) | (np.isnan(number) & ((node.test & MISSING_LEFT) != 0))
                if node.test & IS_SET and not np.isnan(number):
                    is_left = _is_member(words, np.int64(node.value), np.int64(number))
                lanes[lane] = node.child + 1 - np.int64(is_left)
                is_moving = True


@machine_code
def _is_member(words: Any, first: int, code: int) -> bool:
    if code < 0 or code >= np.int64(words[first]) * WORD_BITS:
        return False
    is_set: bool = ((words[first + 1 + code // WORD_BITS] >> np.uint32(code % WORD_BITS)) & np.uint32(1)) != 0
    return is_set


@machine_code
def _add(sums: Any, row: int, column: int, value: float, leaves: Any) -> None:  # noqa: PLR0917
    if len(leaves):
        at = np.int64(value)
        for each in range(sums.shape[1]):
            sums[row, each] += leaves[at, each]
    else:
        sums[row, column] += value
