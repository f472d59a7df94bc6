"""Rows walked through trees."""

import numba
import numpy as np
import pytest

from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.kernel import add_leaves, machine_code
from modelbook.serving.compiling.nodes import Tree, lay_out


def stump(threshold: float = 1.5, *, missing_left: bool = False, values=(10.0, 20.0), **rest) -> Tree:
    """Return a tree that asks one question."""
    settings = {
        "left": np.array([1, -1, -1]),
        "right": np.array([2, -1, -1]),
        "feature": np.zeros(3, dtype=np.int64),
        "threshold": np.array([threshold, 0.0, 0.0]),
        "missing_left": np.array([missing_left, False, False]),
        "value": np.array([[0.0], [values[0]], [values[1]]]),
        "rows": np.array([2.0, 1.0, 1.0]),
        "sets": {},
    }
    return Tree(**settings | rest)


@pytest.fixture
def answer(tmp_path):
    """Return a function that sends numbers, one a row, through trees."""

    def run(trees, numbers, *, sums=1, dtype=np.float64):
        arrays = ArrayFolder(tmp_path)
        laid = lay_out(trees, arrays)
        total = np.zeros((len(numbers), sums), dtype=dtype)
        matrix = np.array(numbers, dtype=np.float64).reshape(-1, 1)
        add_leaves(tuple(map(arrays.read, laid)), matrix, total)
        return total

    return run


def test_at_most_goes_left(answer):
    """A number that equals the threshold goes left, the next one right."""
    above = np.nextafter(1.5, 2.0)
    assert answer([stump()], [1.0, 1.5, above, np.inf])[:, 0].tolist() == [10.0, 10.0, 20.0, 20.0]


@pytest.mark.parametrize(("missing_left", "expected"), [(True, 10.0), (False, 20.0)])
def test_a_missing_number_goes_where_it_was_learned(answer, *, missing_left: bool, expected: float):
    """Trees say for each question where a gap goes."""
    assert answer([stump(missing_left=missing_left)], [np.nan])[0, 0] == expected


def test_categories(answer):
    """A code of the set goes left; others, those beyond the set's words and below zero go right."""
    tree = stump(sets={0: np.array([0, 31, 32, 70])})
    numbers = [0, 31, 32, 70, 1, 33, 71, 95, 96, 1000, -1]
    assert answer([tree], numbers)[:, 0].tolist() == [10.0] * 4 + [20.0] * 7


def test_a_missing_category_goes_where_it_was_learned(answer):
    """A gap is no member of the set, and goes where gaps go."""
    assert answer([stump(missing_left=True, sets={0: np.array([3])})], [np.nan])[0, 0] == 10.0


def test_shares(answer):
    """Leaves of several numbers add all of them."""
    values = np.array([[0.0, 0.0], [0.25, 0.75], [1.0, 0.0]])
    trees = [stump(value=values), stump(threshold=9.0, value=values)]
    assert answer(trees, [5.0], sums=2).tolist() == [[1.25, 0.75]]


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 600])
@pytest.mark.parametrize("count", [1, 8, 13])
def test_alone_and_among_others(answer, rows: int, count: int):
    """A row's sum has the same bits whatever the number of rows and trees that are walked at once."""
    random = np.random.default_rng(0)
    trees = [stump(random.normal(), values=random.normal(size=2)) for _ in range(count)]
    numbers = random.normal(size=rows)
    expected = [
        sum((tree.value[1 if number <= tree.threshold[0] else 2, 0] for tree in trees), start=0.0)
        for number in numbers
    ]
    assert answer(trees, numbers)[:, 0].tolist() == expected


def test_single_precision_adds_up_in_single_precision(answer):
    """Sums of float32 are rounded after each tree, as XGBoost rounds them."""
    trees = [stump(values=(1e8, 1e8)), stump(values=(1.0, 1.0)), stump(values=(-1e8, -1e8))]
    assert answer(trees, [0.0], dtype=np.float32)[0, 0] == 0.0
    assert answer(trees, [0.0])[0, 0] == 1.0


def test_a_tree_of_one_leaf(answer):
    """A tree that never asks adds its leaf."""
    none, one = np.array([-1]), np.ones(1)
    lone = Tree(
        none, none, none, threshold=one, missing_left=one > 0, value=np.array([[4.5]]), rows=one, sets={}
    )
    assert answer([lone, stump()], [1.0] * 9)[:, 0].tolist() == [14.5] * 9


def test_without_a_place_to_keep_it(monkeypatch):
    """Where compiled code cannot be kept, it is compiled all the same."""
    compiled = numba.njit

    def njit(*, cache: bool = False, **settings):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compiled(**settings)

    monkeypatch.setattr(numba, "njit", njit)
    assert machine_code(lambda number: number + 1)(1) == 2
