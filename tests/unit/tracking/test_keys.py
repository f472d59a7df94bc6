"""Names as keys of MLflow."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name, _validate_tag_name

from modelbook.tracking.keys import mlflow_key, with_mlflow_keys


@pytest.mark.parametrize(
    "name",
    ["n_estimators", "features.left_out", "a b:c-d.e/f", "größe", "价格", ".hidden", "a..b", "x" * 250],
)
def test_what_mlflow_takes_stays(name):
    """A name that MLflow takes for a key is the key."""
    assert mlflow_key(name) == name


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Any other comments?", "Any other comments_x3F_"),
        ("Ticket #", "Ticket _x23_"),
        ("a\nb", "a_xA_b"),
        ("a//b", "a_x2F__x2F_b"),
        ("a/", "a_x2F_"),
        ("/a", "_x2F_a"),
        ("../a", "_x2E_._x2F_a"),
        (".", "_x2E_"),
        ("", "_"),
    ],
)
def test_what_mlflow_refuses_is_spelled_out(name, key):
    """A sign that MLflow refuses, and a path that it would shorten, can still be read."""
    assert mlflow_key(name) == key


def test_long_names_stay_apart():
    """Two names that are too long and differ at their ends have two keys."""
    keys = {mlflow_key("x" * 300 + end) for end in "ab"}
    assert [len(key) for key in keys] == [250, 250]


@given(st.text(max_size=300) | st.text("./?a"))
@settings(max_examples=300, deadline=None)
def test_mlflow_takes_every_key(name):
    """Whatever a name is, MLflow takes its key, and the key of that is the key itself."""
    key = mlflow_key(name)
    _validate_metric_name(key)
    _validate_tag_name(key)
    assert len(key) <= MAX_ENTITY_KEY_LENGTH
    assert mlflow_key(key) == key


def test_values_keep_their_order():
    """Values by name become values by key, in their order."""
    assert list(with_mlflow_keys({"b?": 1, "a": 2}).items()) == [("b_x3F_", 1), ("a", 2)]
