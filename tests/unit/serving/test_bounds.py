"""What machine code relies on is looked at when a bundle is opened."""

import numpy as np
import pytest

from modelbook.errors import ModelRefusedError
from modelbook.serving.compiled.bounds import check_places, check_steps, check_trees
from modelbook.serving.compiled.kernel import IS_SET, NODE
from modelbook.serving.compiled.program import Step


def trees(**changes):
    """Return the arrays of one tree that asks one question, with some changed."""
    nodes = np.array([(0, -1, 0), (0, -1, 0), (1.5, 0, 4), (0, -1, 0), (10, -1, 0), (20, -1, 0)], dtype=NODE)
    for name, (at, value) in changes.pop("nodes", {}).items():
        nodes[name][at] = value
    parts = {
        "roots": np.array([2]),
        "columns": np.array([0]),
        "leaves": np.empty((0, 1)),
        "words": np.array([1, 7, 0], dtype=np.uint32),
    }
    return (nodes, *(parts | changes).values())


def steps(*fields):
    return np.array([fields], dtype=np.int64)


def test_sound_trees():
    """What was written is taken, sets of categories included."""
    check_trees(trees(), sums=1, features=1)
    check_trees(trees(nodes={"test": (2, IS_SET), "value": (2, 0.0)}), sums=1, features=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": {"child": (2, 5)}},
        {"nodes": {"child": (2, -3)}},
        {"nodes": {"child": (2, 2)}},
        {"nodes": {"test": (2, 1)}},
        {"nodes": {"test": (0, 0)}},
        {"nodes": {"test": (2, IS_SET), "value": (2, 3.0)}},
        {"nodes": {"test": (2, IS_SET), "value": (2, 1.0)}},
        {"roots": np.array([6])},
        {"columns": np.array([1])},
        {"leaves": np.ones((2, 1))},
        {"words": np.empty(0, np.uint32)},
    ],
    ids=str,
)
def test_trees_that_lead_nowhere(changes: dict):
    """A child, feature, sum, leaf or set that is none is refused, and so is a walk that never ends."""
    with pytest.raises(ModelRefusedError):
        check_trees(trees(**changes), sums=1, features=1)


def test_places():
    """Known places without values, and more features than there is room for, are refused."""
    check_places(np.zeros((3, 2)), np.zeros((3, 1)), made=4, room=4)
    with pytest.raises(ModelRefusedError):
        check_places(np.zeros((3, 2)), np.zeros((2, 1)), made=4, room=4)
    with pytest.raises(ModelRefusedError):
        check_places(np.zeros((3, 2)), np.zeros((3, 1)), made=5, room=4)


def test_sound_steps():
    """Steps within their places and constants are taken."""
    check_steps(steps(Step.FILL, 3, 0, 0, 1, 1), np.zeros(2), 4, values=1, features=1)
    check_steps(steps(Step.COUNT, 3, 0, 0, 0, 2), np.zeros(5), 4, values=1, features=1)


@pytest.mark.parametrize(
    "fields",
    [
        (Step.FILL, 4, 0, 0, 0, 1),
        (Step.FILL, 3, 4, 0, 0, 1),
        (Step.FILL, 3, 0, 0, 2, 1),
        (Step.SUM, 3, 0, -1, 0, 1),
        (Step.CENTRE, 3, 0, 0, 1, 1),
        (Step.COUNT, 3, 0, 0, 0, 1),
        (Step.LOOKUP, 2, 0, 0, 0, 3),
        (Step.LOOKUP, 2, 0, 0, 0, -1),
        (Step.PART, 2, 3, 0, 0, 1),
        (99, 2, 0, 0, 0, 1),
    ],
    ids=str,
)
def test_steps_that_lead_nowhere(fields: tuple):
    """A place or a constant that is none is refused."""
    with pytest.raises(ModelRefusedError):
        check_steps(steps(*fields), np.zeros(2), 4, values=1, features=1)
