"""Trees of LightGBM and XGBoost, as treelite reads them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import treelite
import treelite.frontend

from modelbook.serving.compiling.nodes import Tree
from modelbook.serving.compiling.refusal import NotCompilableError

# treelite's numbers for comparisons: XGBoost asks for less than, LightGBM for at most.
_LESS = 2
_CATEGORIES = 2


def read_lightgbm(booster: Any) -> "treelite.Model":
    """Return the trees of a LightGBM booster."""
    return treelite.frontend.from_lightgbm(booster)


def read_xgboost(booster: Any) -> "treelite.Model":
    """Return the trees of an XGBoost booster."""
    return treelite.frontend.from_xgboost(booster)


def header(model: "treelite.Model", name: str) -> Any:
    """Return a field that holds for all trees."""
    return model.get_header_accessor().get_field(name)


def booster_trees(model: "treelite.Model") -> Iterator[Tree]:
    """Yield the trees of a booster, each of which adds to the sum of one class.

    Raises:
        NotCompilableError: Leaves hold more than a number.
    """
    columns = header(model, "class_id")
    for number in range(model.num_tree):
        fields = model.get_tree_accessor(number)
        if len(fields.get_field("leaf_vector")):
            raise NotCompilableError("leaves of its trees hold several numbers")
        yield _tree(fields, int(columns[number]))


def _tree(fields: Any, column: int) -> Tree:
    left = fields.get_field("cleft").astype(np.int64)
    right = fields.get_field("cright").astype(np.int64)
    swapped = _swapped(fields, left)
    is_missing_left = fields.get_field("default_left").astype(bool)
    return Tree(
        left=np.where(swapped, right, left),
        right=np.where(swapped, left, right),
        feature=fields.get_field("split_index").astype(np.int64),
        threshold=_at_most(fields),
        missing_left=is_missing_left ^ swapped,
        value=fields.get_field("leaf_value").astype(np.float64)[:, np.newaxis],
        rows=_rows(fields, len(left)),
        sets=_sets(fields, left),
        column=column,
    )


def _at_most(fields: Any) -> npt.NDArray[np.float64]:
    """Return the largest number that goes left, in the precision in which the library compares."""
    threshold = fields.get_field("threshold")
    is_less = fields.get_field("cmp") == _LESS
    below = np.nextafter(threshold, threshold.dtype.type(-np.inf))
    return np.asarray(np.where(is_less, below, threshold), dtype=np.float64)


def _swapped(fields: Any, left: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return where the listed categories go right: there the children change places."""
    is_right = fields.get_field("category_list_right_child").astype(bool)
    return np.asarray(is_right & (fields.get_field("node_type") == _CATEGORIES) & (left >= 0))


def _sets(fields: Any, left: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[np.int64]]:
    nodes = np.flatnonzero((fields.get_field("node_type") == _CATEGORIES) & (left >= 0))
    begin, end = fields.get_field("category_list_begin"), fields.get_field("category_list_end")
    codes = fields.get_field("category_list").astype(np.int64)
    return {int(node): codes[begin[node] : end[node]] for node in nodes}


def _rows(fields: Any, count: int) -> npt.NDArray[np.float64]:
    for name in ("data_count", "sum_hess"):
        rows = fields.get_field(name)
        if len(rows) == count:
            return np.asarray(rows, dtype=np.float64)
    return np.zeros(count)
