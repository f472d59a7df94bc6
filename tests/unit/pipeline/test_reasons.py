import os
from pathlib import Path

import pytest
from dvc.repo import Repo

from modelbook.pipeline.reasons import reasons

PIPELINE = """\
stages:
  train:
    cmd: cp data.csv model && cp data.csv metrics
    deps: [data.csv]
    params:
      - config.yaml: [model, training.seed]
    outs: [model, metrics]
"""
SETTINGS = "model: {algorithm: ridge, hyperparameters: {ridge: {alpha: 1}}}\ntraining: {seed: 42}\n"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """Return a pipeline of one stage."""
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "config.yaml").write_text(SETTINGS)
    (tmp_path / "data.csv").write_text("1\n")
    return Repo()


@pytest.fixture
def done(repo: Repo) -> Repo:
    """Return the pipeline, run once."""
    repo.reproduce()
    return repo


def why(repo: Repo) -> tuple[str, ...]:
    repo._reset()
    with repo.lock:
        (stage,) = repo.index.stages
        return reasons(stage)


def test_never_run(repo: Repo):
    """A stage that has not run says only that."""
    assert why(repo) == ("it has not run yet",)


def test_nothing_changed(done: Repo):
    """A stage of which nothing differs has no reason, touched files or not."""
    os.utime("data.csv", (1, 1))
    assert why(done) == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("seed: 42", "seed: 7", ("training.seed: 42 → 7",)),
        ("seed: 42", "seed: null", ("training.seed: 42 → null",)),
        ("alpha: 1", "alpha: 2.5", ("model.hyperparameters.ridge.alpha: 1 → 2.5",)),
        ("{alpha: 1}", "{}", ("model.hyperparameters.ridge.alpha: 1 → null",)),
        ("{alpha: 1}", "{alpha: 1, positive: true}", ("model.hyperparameters.ridge.positive: null → true",)),
        ("{ridge: {alpha: 1}}", "[]", ('model.hyperparameters: {"ridge": {"alpha": 1}} → []',)),
        ("algorithm: ridge", f"algorithm: {'x' * 90}", (f"model.algorithm: ridge → {'x' * 60}…",)),
        ("seed: 42", "seed: http://a:hush@b", ("training.seed: 42 → http://a:***@b",)),
    ],
)
def test_a_changed_setting(done: Repo, *, before: str, after: str, expected: tuple[str, ...]):
    """A setting that changed is named down to the key, with old and new value, short and without secrets."""
    Path("config.yaml").write_text(SETTINGS.replace(before, after))
    assert why(done) == expected


def test_a_setting_that_nobody_reads(done: Repo):
    """A setting that the stage does not depend on is no reason."""
    Path("config.yaml").write_text(f"{SETTINGS}serving: {{port: 1}}\n")
    assert why(done) == ()


def test_changed_files(done: Repo):
    """Files that changed are named with both hashes, missing ones too, inputs and outputs apart."""
    Path("data.csv").write_text("2\n")
    Path("model").write_text("2\n")
    Path("metrics").unlink()
    assert why(done) == (
        "data.csv changed: b026324c → 26ab0db9",
        "its output model changed: b026324c → 26ab0db9",
        "its output metrics is missing",
    )


def test_missing_input(done: Repo):
    """An input that is gone is named."""
    Path("data.csv").unlink()
    assert why(done) == ("data.csv is missing",)


def test_several_reasons(done: Repo):
    """All reasons are given, the command's first."""
    Path("dvc.yaml").write_text(PIPELINE.replace("cp data.csv metrics", "touch metrics"))
    Path("config.yaml").write_text(SETTINGS.replace("42", "7"))
    Path("data.csv").write_text("2\n")
    assert why(done) == (
        "its command changed",
        "data.csv changed: b026324c → 26ab0db9",
        "training.seed: 42 → 7",
    )
