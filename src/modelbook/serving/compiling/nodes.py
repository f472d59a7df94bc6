"""Trees of any library laid out for the kernel.

Children lie side by side, and the pair under the child that more rows reach lies right behind its own pair:
half of the steps of a walk stay in a line of the processor's cache. One row of a forest of 150 trees takes
half of the time that it takes level by level.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.kernel import IS_SET, LEAF, MISSING_LEFT, NODE, WORD_BITS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Tree(NamedTuple):
    """One tree, its root first.

    Attributes:
        left: The left child of each node, -1 for a leaf, `(n_nodes,)`.
        right: The right child.
        feature: What is asked for.
        threshold: The largest number that goes left.
        missing_left: Whether a missing number goes left.
        value: What a leaf adds, `(n_nodes, n_sums)`; or `(n_nodes, 1)`, for one of the sums.
        rows: How many rows came by; what is known to be visited more is laid nearer.
        sets: Codes of categories that go left, by the node that asks for them.
        column: Which sum it adds to.
    """

    left: Ints
    right: Ints
    feature: Ints
    threshold: Floats
    missing_left: npt.NDArray[np.bool_]
    value: Floats
    rows: Floats
    sets: dict[int, Ints]
    column: int = 0


class Laid(NamedTuple):
    """The names of the arrays that trees are kept in."""

    nodes: str
    roots: str
    columns: str
    leaves: str
    words: str


def lay_out(trees: Sequence[Tree], arrays: ArrayFolder) -> Laid:
    """Keep trees as the kernel takes them, and return the names of the arrays."""
    forest = _Forest()
    for tree in trees:
        forest.add(tree)
    empty = np.empty((0, trees[0].value.shape[1]))
    return Laid(
        nodes=arrays.write("nodes", np.concatenate(forest.blocks)),
        roots=arrays.write("roots", np.array(forest.roots, dtype=np.int64)),
        columns=arrays.write("columns", np.array([tree.column for tree in trees], dtype=np.int64)),
        leaves=arrays.write("leaves", np.concatenate([empty, *forest.tables])),
        words=arrays.write("words", np.array([*forest.words, 0], dtype=np.uint32)),
    )


class _Forest:
    """Trees one behind the other; the first two nodes are leaves of none."""

    def __init__(self) -> None:
        self.blocks = [_leaves(2)]
        self.roots: list[int] = []
        self.tables: list[Floats] = []
        self.words: list[int] = []
        self._nodes = 2
        self._leaves = 0

    def add(self, tree: Tree) -> None:
        place, pair = _places(tree)
        block = _leaves(len(place) + 1)  # a root and its pairs are odd in number: pairs begin at even places
        is_leaf = tree.left < 0
        block["value"][place] = np.where(is_leaf, self._values(tree, is_leaf), tree.threshold)
        asked = tree.feature + np.where(tree.missing_left, MISSING_LEFT, 0)
        block["test"][place] = np.where(is_leaf, LEAF, asked)
        block["child"][place] = np.where(is_leaf, 0, pair + self._nodes)
        for node, codes in tree.sets.items():
            block["value"][place[node]] = self._kept(codes)
            block["test"][place[node]] += IS_SET
        self.roots.append(self._nodes)
        self.blocks.append(block)
        self._nodes += len(block)

    def _values(self, tree: Tree, is_leaf: npt.NDArray[np.bool_]) -> Floats:
        """Return what a leaf's node holds: what it adds, or the row of the table that does."""
        if tree.value.shape[1] == 1:
            return tree.value[:, 0]
        self.tables.append(tree.value[is_leaf])
        at = np.cumsum(is_leaf) - 1 + self._leaves
        self._leaves += int(is_leaf.sum())
        return at.astype(np.float64)

    def _kept(self, codes: Ints) -> int:
        """Return where a set of codes begins among the words."""
        first, count = len(self.words), int(codes.max(initial=-1)) // WORD_BITS + 1
        words = np.zeros(count, dtype=np.uint32)
        np.bitwise_or.at(words, codes // WORD_BITS, np.uint32(1) << (codes % WORD_BITS).astype(np.uint32))
        self.words.extend([count, *words.tolist()])
        return first


def _leaves(count: int) -> npt.NDArray[np.void]:
    nodes = np.zeros(count, dtype=NODE)
    nodes["test"] = LEAF
    return nodes


def _places(tree: Tree) -> tuple[Ints, Ints]:
    """Return the place of each node, and that of the pair of its children."""
    levels = _levels(tree)
    size = np.ones(len(tree.left), dtype=np.int64)
    for inner in reversed(levels):
        size[inner] += size[tree.left[inner]] + size[tree.right[inner]]
    place, pair = np.zeros_like(size), np.full_like(size, 2)  # the root stands at 0, and 1 is left free
    for inner in levels:
        left, right = tree.left[inner], tree.right[inner]
        place[left], place[right] = pair[inner], pair[inner] + 1
        often = np.where(tree.rows[left] >= tree.rows[right], left, right)
        seldom = left + right - often
        pair[often] = pair[inner] + 2
        pair[seldom] = pair[inner] + 1 + size[often]
    return place, pair


def _levels(tree: Tree) -> list[Ints]:
    """Return the nodes with children, level by level."""
    levels, nodes = [], np.zeros(1, dtype=np.int64)
    while len(inner := nodes[tree.left[nodes] >= 0]):
        levels.append(inner)
        nodes = np.concatenate([tree.left[inner], tree.right[inner]])
    return levels
