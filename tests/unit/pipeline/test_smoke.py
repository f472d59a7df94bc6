"""The packaged model in a process of its own."""

import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from modelbook.pipeline import smoke
from modelbook.pipeline.smoke import largest_difference, smoke_test


def test_nothing_of_the_project_is_on_its_path(tmp_path, monkeypatch):
    """What PYTHONPATH names of the project is left out, what lies elsewhere stays, and no server is known."""
    root = tmp_path / "houses"
    (root / "lib").mkdir(parents=True)
    elsewhere = str(tmp_path / "elsewhere")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), elsewhere, str(root / "lib")]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")
    environ = smoke._environ(root)
    assert environ["PYTHONPATH"] == elsewhere
    assert "MLFLOW_TRACKING_URI" not in environ
    monkeypatch.setenv("PYTHONPATH", str(root))
    assert "PYTHONPATH" not in smoke._environ(root)


def checked(project, **options):
    with smoke_test(project.config, project.metadata.model) as test:
        return test.check(**options)


def test_a_package_that_works(project):
    """It loads elsewhere and predicts what was recorded, for the rows that are named."""
    check = checked(project)
    assert (check.name, check.kind, check.passed, check.note) == ("smoke_test", "smoke_test", True, None)
    assert (check.value, check.max, check.rows) == (0, 1e-9, 60)


def test_an_altered_package_is_not_loaded(project):
    """A model file that is not the recorded one fails the test, with the reason."""
    path = project.root / "models/model.skops"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    check = checked(project)
    assert (check.passed, check.value) == (False, None)
    assert "a file of the model is not the one that was recorded (sha256 " in check.note


def test_a_package_without_its_code_fails(project):
    """What the package lacks shows, although this process has it in memory."""
    shutil.rmtree(project.root / "models/code")
    assert "a file of the model is missing" in checked(project).note


def test_other_predictions_fail(project):
    """A model that loads and predicts something else than was recorded is not what was measured."""
    path = project.root / "models/test_predictions.parquet"
    table = pd.read_parquet(path)
    path.unlink()
    table.assign(predicted=table["predicted"] * (1 + 1e-6)).to_parquet(path)
    check = checked(project)
    assert (check.passed, check.note) == (False, "the packaged model predicts something else")
    assert check.value == pytest.approx(1e-6, rel=0.1)


def test_a_model_that_hangs_is_ended(project, monkeypatch):
    """Without an answer in time the test fails, and the process is gone."""
    started = []
    monkeypatch.setattr(smoke, "_start", lambda *_: started.append(hanging()) or started[0])
    check = checked(project, timeout_s=0.1)
    assert (check.passed, check.note) == (False, "the packaged model gave no answer within 0.1 s")
    assert started[0].returncode == -9


def hanging():
    return subprocess.Popen(["sleep", "60"], stderr=subprocess.PIPE, text=True)


def test_how_far_predictions_are_apart():
    """Numbers are held against the largest, labels by the share that differ; what one side lacks is far."""
    table = pd.DataFrame({"actual": ["a", "b"], "predicted": ["a", "b"], "probability_a": [0.9, 0.2]})
    assert largest_difference(table, table) == 0
    assert largest_difference(table, table.assign(predicted=["a", "a"])) == 0.5
    assert largest_difference(table, table.assign(probability_a=[0.9, 0.3])) == pytest.approx(0.1)
    assert largest_difference(table, table[["actual", "predicted"]]) == np.inf
    numbers = pd.DataFrame({"actual": [1.0, 2.0], "predicted": [np.nan, 2.0]})
    assert largest_difference(numbers, numbers) == 0
    assert largest_difference(numbers, numbers.assign(predicted=[1.0, 2.0])) == np.inf
    zeros = numbers.assign(predicted=0.0)
    assert largest_difference(zeros, zeros.assign(predicted=0.5)) == 0.5
