"""CatBoost's trees, which ask the same question of every node of a level."""

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modelbook.serving.compiling.nodes import Tree
from modelbook.serving.compiling.refusal import NotCompilableError

_GAPS_GO_RIGHT = "AsTrue"


class Oblivious(NamedTuple):
    """What CatBoost writes of a model.

    Attributes:
        trees: The trees; each leaf adds to every sum.
        base: What each sum begins with.
    """

    trees: list[Tree]
    base: npt.NDArray[np.float64]


def read_catboost(model: Any) -> Oblivious:
    """Return the trees of a CatBoost model.

    Raises:
        NotCompilableError: It asks for categories, or its trees are of another kind.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        content = json.loads(path.read_bytes())
    if "oblivious_trees" not in content or content["features_info"].get("categorical_features"):
        raise NotCompilableError("its trees ask for categories, or another thing of each node")
    scale, bias = content["scale_and_bias"]
    base = np.array(bias, dtype=np.float64).reshape(-1)
    gaps_left = np.array([feature["nan_value_treatment"] != _GAPS_GO_RIGHT for feature in _features(content)])
    trees = [_tree(tree, len(base), gaps_left=gaps_left, scale=scale) for tree in content["oblivious_trees"]]
    return Oblivious(trees, base)


def _features(content: Any) -> list[dict[str, Any]]:
    return list(content["features_info"]["float_features"])


def _tree(tree: Any, sums: int, *, gaps_left: npt.NDArray[np.bool_], scale: float) -> Tree:
    """Return the whole tree: node n has the children 2 n + 1 and 2 n + 2, and the splits are its levels."""
    splits = tree["splits"] or []
    if any(split["split_type"] != "FloatFeature" for split in splits):
        raise NotCompilableError("its trees ask for more than numbers")
    depth = len(splits)
    inner = 2**depth - 1
    nodes = np.arange(2 * inner + 1)
    is_leaf = nodes >= inner
    level = np.minimum(np.log2(nodes + 1).astype(np.int64), max(depth - 1, 0))
    features = np.array([split["float_feature_index"] for split in splits] or [0])[level]
    borders = np.array([split["border"] for split in splits] or [0.0], dtype=np.float32)[level]
    leaf = _leaf_numbers(depth)
    values = np.array(tree["leaf_values"], dtype=np.float64).reshape(-1, sums)[leaf] * scale
    weights = np.array(tree["leaf_weights"], dtype=np.float64)[leaf]
    return Tree(
        left=np.where(is_leaf, -1, 2 * nodes + 1),
        right=np.where(is_leaf, -1, 2 * nodes + 2),
        feature=features,
        threshold=borders.astype(np.float64),
        missing_left=gaps_left[features],
        value=np.concatenate([np.zeros((inner, sums)), values]),
        rows=_sums_upwards(weights),
        sets={},
    )


def _leaf_numbers(depth: int) -> npt.NDArray[np.int64]:
    """Return CatBoost's number of each leaf from left to right: the first split is its lowest bit."""
    numbers = np.zeros(1, dtype=np.int64)
    for bit in range(depth):
        numbers = np.stack([numbers, numbers + 2**bit], axis=1).ravel()
    return numbers


def _sums_upwards(leaves: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    levels = [leaves]
    while len(levels[0]) > 1:
        levels.insert(0, levels[0].reshape(-1, 2).sum(axis=1))
    return np.concatenate(levels)
