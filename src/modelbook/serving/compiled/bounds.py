"""What machine code relies on, looked at once: it does not look itself whether a place is one."""

from typing import Any

import numpy as np
import numpy.typing as npt

from modelbook.errors import ModelRefusedError
from modelbook.serving.compiled.kernel import FEATURE, IS_SET, NODE, NOWHERE
from modelbook.serving.compiled.program import Step

Array = npt.NDArray[Any]


def check_trees(trees: tuple[Array, ...], *, sums: int, features: int) -> None:
    """Return quietly where a walk can only meet nodes, features, sums and leaves that there are, and ends.

    Args:
        trees: The five arrays that `kernel.add_leaves` takes.
        sums: The number of sums.
        features: The number of features.

    Raises:
        ModelRefusedError: A place is none.
    """
    nodes, roots, columns, leaves, words = trees
    if nodes.dtype != NODE or not len(nodes) or not len(words):
        raise _refused("nodes of another form")
    at = np.flatnonzero(nodes["test"] >= 0)
    test, child = nodes["test"][at], nodes["child"][at]
    sets = nodes["value"][at[(test & IS_SET) != 0]]
    is_sound = (
        nodes["test"][NOWHERE] < 0
        and _all_within(roots, len(nodes))
        and _all_within(columns, sums)
        and len(columns) == len(roots)
        and bool((child > at).all())  # onwards, so that every walk comes to an end
        and _all_within(child, len(nodes) - 1)
        and _all_within(test & FEATURE, features)
        and _all_within(sets, len(words))
        and _sets_end(sets, words)
        and (not len(leaves) or _leaves_are_there(nodes, leaves, sums))
    )
    if not is_sound:
        raise _refused("trees that lead nowhere")


def check_steps(steps: Array, constants: Array, room: int, *, values: int, features: int) -> None:
    """Return quietly where steps read and write places, and constants, that there are.

    Args:
        steps: The steps, `(n_steps, 6)`.
        constants: What they know.
        room: The number of places.
        values: How many of them are read from columns.
        features: How many of them are features.

    Raises:
        ModelRefusedError: A place is none.
    """
    step, out, x, y, at, width = steps.T
    written = np.where(step == Step.LOOKUP, width, 1)
    # Of a table the kernel looks itself: which row of it is read follows from the data.
    read = np.select([step == Step.COUNT, step == Step.FILL, step >= Step.CENTRE], [2 * width + 1, 1, 2], 0)
    is_sound = (
        max(values, features) <= room
        and bool((width >= 0).all())
        and _all_within(step, len(Step))
        and _all_within(out, room)
        and _all_within(out + written, room + 1)
        and _all_within(x, room)
        and _all_within(x + (step == Step.PART), room)
        and _all_within(y, room)
        and _all_within(at, len(constants) + 1)
        and _all_within(at + read, len(constants) + 1)
    )
    if not is_sound:
        raise _refused("steps that lead nowhere")


def check_places(known: Array, values: Array, *, made: int, room: int) -> None:
    """Return quietly where each known place has its values, and there is room for the features of places.

    Args:
        known: Where training rows are, `(n_rows, 2)`.
        values: What they hold, `(n_rows, n_values)`.
        made: How many features are made.
        room: How many there is room for.

    Raises:
        ModelRefusedError: It is otherwise.
    """
    if len(known) != len(values) or made != room:
        raise _refused("places that lead nowhere")


def _all_within(places: Array, count: int) -> bool:
    return bool(((places >= 0) & (places < count)).all())


def _leaves_are_there(nodes: Array, leaves: Array, sums: int) -> bool:
    return leaves.shape[1] == sums and _all_within(nodes["value"][nodes["test"] < 0], len(leaves))


def _sets_end(firsts: Array, words: Array) -> bool:
    at = firsts.astype(np.int64)
    return bool((at + words[at] < len(words)).all())


def _refused(got: str) -> ModelRefusedError:
    return ModelRefusedError(
        "the bundle of a model is not what was written",
        got=got,
        hint="remove the folder: it is made again from the registered model",
    )
