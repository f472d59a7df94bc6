"""The digest of a fitted state: the same for the same state, whatever the process; another for another."""

import functools
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from modelbook.errors import ModelbookError
from modelbook.models.digest import model_digest
from modelbook.models.estimators import CATALOGUE

FIT = """
import json, sys
import numpy as np
import pandas as pd
from modelbook.models.digest import model_digest
from modelbook.models.estimators import CATALOGUE
from modelbook.models.train import ModelTrainer

random = np.random.default_rng(0)
table = pd.DataFrame({"a": random.normal(size=200), "b": random.integers(0, 9, 200), "c": list("xyzw") * 50})
sums = table["a"] + table["b"]
targets = {"regression": sums, "classification": pd.Series(np.where(sums > 4, "high", "low"))}
digests = {}
for algorithm in CATALOGUE:
    for task, target in targets.items():
        settings = {
            "hist_gradient_boosting": {"max_iter": 4},
            "linear": {},
            "mlp": {"hidden_layer_sizes": [4], "max_iter": 4},
            "blend": {"members": ["linear", {"random_forest": {"n_estimators": 4}}], "folds": 2},
        }.get(algorithm, {"n_estimators": 4})
        trainer = ModelTrainer({
            "project": {"task": task},
            "features": {"numeric": {"columns": ["a", "b"]}, "categorical": {"columns": ["c"]}},
            "model": {"algorithm": algorithm, "hyperparameters": {algorithm: settings}},
            "training": {"n_jobs": int(sys.argv[1])},
        })
        digests[f"{algorithm} {task}"] = model_digest(trainer.train(table, target))
print(json.dumps(digests))
"""


def digests_of_fits(hash_seed, threads):
    done = subprocess.run(
        [sys.executable, "-c", FIT, threads],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_same_fit_in_two_processes():
    """Every algorithm of the catalogue has one digest, whatever the hash seed and the number of threads."""
    first, second = digests_of_fits("1", "1"), digests_of_fits("2", "2")
    assert first == second
    assert len(set(first.values())) == 2 * len(CATALOGUE)


@pytest.fixture(scope="module")
def forest():
    random = np.random.default_rng(0)
    return RandomForestRegressor(3, random_state=1).fit(random.normal(size=(50, 3)), random.normal(size=50))


def test_one_number_of_one_tree(forest):
    """A change of the last digit of one value of one tree changes the digest."""
    before = model_digest(forest)
    value = forest.estimators_[1].tree_.value
    old = value[0, 0, 0]
    value[0, 0, 0] = np.nextafter(old, np.inf)
    assert model_digest(forest) != before
    value[0, 0, 0] = old
    assert model_digest(forest) == before


def test_a_parameter_counts(forest):
    """A model with other settings is another model, though it predicts the same."""
    before = model_digest(forest)
    forest.set_params(max_features=0.5)
    assert model_digest(forest) != before
    forest.set_params(max_features=1.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"x", "y", "z"}, {"z", "y", "x"}),
        (np.arange(6).reshape(2, 3).T, np.ascontiguousarray(np.arange(6).reshape(2, 3).T)),
        (np.array([float("nan")]), np.array([float("nan")])),
        (np.array(["a", None], dtype=object), np.array(["a", None], dtype=object)),
        ([[1, 2], [1, 2]], [[1, 2]] * 2),
    ],
)
def test_what_is_the_same(one, other):
    """Order of keys, memory layout and sharing of equal parts make no difference."""
    assert model_digest(one) == model_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        (b"a", "a"),
        ([1, 2], (1, 2)),
        ([1, 2], [2, 1]),
        ([[1], 2], [1, [2]]),
        (["ab"], ["a", "b"]),
        ({"a": 1}, {"a": 2}),
        (np.zeros(2), np.zeros((1, 2))),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (np.array([0.0]), np.array([-0.0])),
        (np.float64(1), 1.0),
        (np.log1p, np.log),
        (None, "None"),
        (len, sum),
        (functools.partial(int, base=2), functools.partial(int, base=8)),
    ],
)
def test_what_differs(one, other):
    """Types, order, shape and signs make a difference."""
    assert model_digest(one) != model_digest(other)


def test_bytes_between_fields_do_not_count():
    """Of an array of records the fields count, not what lies between them in memory."""
    kind = np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"]}, align=True)
    clean = np.zeros(3, dtype=kind)
    dirty = np.frombuffer(bytearray(b"\xff" * clean.nbytes), dtype=kind)  # a copy may lose what lies between
    dirty["a"] = dirty["b"] = 0
    assert clean.tobytes() != dirty.tobytes()
    assert model_digest(clean) == model_digest(dirty)


def test_an_object_that_holds_itself():
    """A cycle ends, and comes out the same each time."""
    cycles = []
    for _ in range(2):
        content = {"self": None, "other": [1]}
        content["self"] = content
        cycles.append(content)
    assert model_digest(cycles[0]) == model_digest(cycles[1])


def test_what_has_no_state():
    """A lock in a model is refused, with its type."""
    with pytest.raises(ModelbookError) as caught:
        model_digest({"lock": threading.Lock()})
    assert caught.value.where == "_thread.lock"
