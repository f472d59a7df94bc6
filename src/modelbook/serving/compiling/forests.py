"""Trees as scikit-learn keeps them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from modelbook.serving.compiling.nodes import Tree
from modelbook.serving.compiling.refusal import NotCompilableError

_WORD_BITS = 32


def forest_trees(forest: Any) -> Iterator[Tree]:
    """Yield the trees of a forest, each leaf of which holds a number or the share of each class."""
    for estimator in forest.estimators_:
        tree = estimator.tree_
        yield Tree(
            left=tree.children_left,
            right=tree.children_right,
            feature=tree.feature,
            threshold=tree.threshold,
            missing_left=tree.missing_go_to_left.astype(bool),
            value=tree.value[:, 0, :],
            rows=tree.weighted_n_node_samples,
            sets={},
        )


def histogram_trees(boosting: Any) -> Iterator[Tree]:
    """Yield the trees of histogram gradient boosting, each of which adds to the sum of one class.

    Raises:
        NotCompilableError: Its codes of categories are not those of the features.
    """
    order = _order(boosting)
    for stage in boosting._predictors:  # noqa: SLF001 (scikit-learn shows its trees nowhere else)
        for column, predictor in enumerate(stage):
            yield _histogram_tree(predictor, order, column)


def _histogram_tree(predictor: Any, order: Any, column: int) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    left = np.where(is_leaf, -1, nodes["left"].astype(np.int64))
    is_set = nodes["is_categorical"].astype(bool) & ~is_leaf
    bits = predictor.raw_left_cat_bitsets
    return Tree(
        left=left,
        right=nodes["right"].astype(np.int64),
        feature=order[np.where(is_leaf, 0, nodes["feature_idx"]).astype(np.int64)],
        threshold=nodes["num_threshold"].astype(np.float64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        value=nodes["value"].astype(np.float64)[:, np.newaxis],
        rows=nodes["count"].astype(np.float64),
        sets={int(node): _members(bits[nodes["bitset_idx"][node]]) for node in np.flatnonzero(is_set)},
        column=column,
    )


def _members(words: Any) -> Any:
    codes = np.arange(len(words) * _WORD_BITS)
    return codes[(words[codes // _WORD_BITS] >> (codes % _WORD_BITS).astype(np.uint32)) & 1 == 1]


def _order(boosting: Any) -> Any:
    """Return the feature that each column of its trees is: categories come first there."""
    count = boosting.n_features_in_
    codes_first = boosting._preprocessor  # noqa: SLF001 (see above)
    if codes_first is None:
        return np.arange(count)
    for known in codes_first.encoder.categories_:
        codes = np.asarray(known, dtype=np.float64)
        codes = codes[~np.isnan(codes)]
        if not np.array_equal(codes, np.arange(len(codes))):
            raise NotCompilableError("its trees number categories in another way than its features")
    is_category = codes_first.is_categorical
    return np.concatenate([np.flatnonzero(is_category), np.flatnonzero(~is_category)])
