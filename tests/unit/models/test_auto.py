"""The automatic choice: within its budget, on training rows alone, the same model whenever it is replayed."""

from itertools import count

import numpy as np
import pytest

from modelbook.errors import ConfigError, DataInvalidError, StorageError
from modelbook.models import auto
from modelbook.models.auto import search, settled
from modelbook.models.build import build_estimator
from modelbook.models.digest import model_digest
from modelbook.models.fit import fit_pipeline
from modelbook.models.train import ModelTrainer
from modelbook.records import Candidate, Outcome


@pytest.fixture(autouse=True)
def two_folds(monkeypatch):
    """Let a search on few rows take little time."""
    monkeypatch.setattr(auto, "_FOLDS", 2)


def ticking(step_s):
    """Return a clock by which so much time passes between two looks at it."""
    return map(float, count(0, step_s)).__next__


def found(config, table, *, budget_looks=60):
    """Return what a search comes to that may look so often at its clock."""
    target = config.data.target
    step = auto.DEFAULT_BUDGET_S / budget_looks
    return search(config, table.drop(columns=target), y=table[target].to_numpy(), clock=ticking(step))


@pytest.fixture
def choice(table, settings):
    return found(settings("auto"), table)


def test_every_candidate_is_on_record(choice):
    """What was tried is listed in its order, with its score or with why it has none."""
    assert [trial.number for trial in choice.trials] == list(range(1, len(choice.trials) + 1))
    assert all((trial.score is None) != (trial.note is None) for trial in choice.trials)
    scores = [trial.score for trial in choice.trials if trial.score is not None]
    assert choice.metric == "rmse"
    assert choice.score <= min(scores)


def test_the_outcome_is_settings_that_make_one_model(choice, table, settings):
    """Read back from its JSON, the outcome makes the same model as often as it is fitted."""
    config = settings("auto")
    replayed = settled(config, Outcome.model_validate_json(choice.model_dump_json()))
    assert replayed.model.algorithm == choice.algorithm != "auto"
    X, y = table.drop(columns="price"), table["price"].to_numpy()
    first, second = (fit_pipeline(one, X, y=y) for one in (settled(config, choice), replayed))
    assert model_digest(first) == model_digest(second)


def test_a_small_budget_tries_less(table, settings):
    """With less time fewer candidates have a score, and the search ends all the same."""
    scored = [
        sum(trial.score is not None for trial in found(settings("auto"), table, budget_looks=looks).trials)
        for looks in (20, 60)
    ]
    assert 0 < scored[0] < scored[1]


@pytest.mark.parametrize(
    ("algorithm", "given", "folded_rows"), [("linear", {}, 90), ("mlp", {"max_iter": 200}, 10)]
)
def test_what_is_slow_is_tried_on_some_rows_first(
    table, settings, monkeypatch, *, algorithm, given, folded_rows
):
    """What takes too long is not begun: a thousand passes, or a few of them over a large table."""
    passed, sizes = [0.0], []

    def said(_hunt, _candidate, fold):
        sizes.append(len(fold.y))
        passed[0] += 6.0 * len(fold.y)
        return np.full(len(fold.held), 0.5)

    monkeypatch.setattr(auto, "_PROBED_ROWS", 10)
    monkeypatch.setattr(auto, "_FOLDED_ROWS", folded_rows)
    monkeypatch.setattr(auto._Hunt, "_said", said)
    monkeypatch.setattr(auto, "portfolio", lambda _: (Candidate(algorithm=algorithm, settings=given),))
    X, y = table.drop(columns="dear"), table["dear"].to_numpy()
    with pytest.raises(ConfigError, match="could fit nothing") as caught:
        search(settings("auto", task="classification"), X, y=y, clock=lambda: passed[0])
    assert caught.value.mistakes == (f"{algorithm}: does not fit into the time that is left",)
    assert len(sizes) == 1
    assert 9 <= sizes[0] <= 11


def test_a_draw_may_take_more_iterations_than_what_it_is_drawn_around(table, settings, monkeypatch):
    """Other settings may learn more slowly: how many iterations were best for the first is no limit."""
    asked = Candidate(algorithm="lightgbm", settings={"n_estimators": 3000, "learning_rate": 0.5})
    bases = []
    monkeypatch.setattr(auto, "portfolio", lambda _: (asked,))
    monkeypatch.setattr(auto, "drawn", lambda base, *_: bases.append(base) or base)
    choice = found(settings("auto"), table)
    assert choice.trials[0].settings["n_estimators"] < asked.settings["n_estimators"]
    assert bases
    assert all(base == asked for base in bases)


def test_no_time_at_all(table, settings):
    """A budget in which nothing can be fitted is an error that names each candidate."""
    with pytest.raises(ConfigError, match="could fit nothing within its budget") as caught:
        found(settings("auto"), table, budget_looks=1)
    assert any(mistake.startswith("linear: ") for mistake in caught.value.mistakes)


def test_one_candidate_that_fails_is_noted(table, settings, monkeypatch):
    """Whatever a library raises costs its own candidate; what no candidate can help ends the search."""

    def failing(config, *arguments):
        if config.model.algorithm == "lightgbm":
            raise error
        return build_estimator(config, *arguments)

    monkeypatch.setattr(auto, "build_estimator", failing)
    error = Exception("Check failed: best_split_info.right_count > 0")  # LightGBMError is nothing more
    choice = found(settings("auto"), table)
    notes = {trial.note for trial in choice.trials if trial.algorithm == "lightgbm"}
    assert notes == {"Check failed: best_split_info.right_count > 0"}
    assert any(trial.score is not None for trial in choice.trials)
    for error in (MemoryError(), StorageError("the disk is full")):
        with pytest.raises(type(error)):
            found(settings("auto"), table)


def test_a_class_that_only_held_out_rows_have(table, settings, monkeypatch):
    """In time a class may begin after a fold's training rows: iterations are found without it."""
    network = Candidate(algorithm="mlp", settings={"max_iter": 5})
    monkeypatch.setattr(auto, "portfolio", lambda _: (network,))
    dear = np.select([table["group"] < 5, table["group"] < 8], [table["dear"], "z"], "zz")
    config = settings("auto", task="classification", split={"method": "time", "column": "at"})
    choice = found(config, table.assign(dear=dear, at=range(90)), budget_looks=30)
    assert choice.trials[0].note is None


@pytest.mark.parametrize("method", ["random", "group", "time"])
def test_classes_and_splits(table, settings, method):
    """Classes are chosen for by log loss, with rows kept together or in order as the split says."""
    table = table.assign(sold=table["sold"].astype(float))
    split = {"method": method} | ({"column": "group"} if method != "random" else {})
    choice = found(settings("auto", task="classification", split=split), table)
    assert choice.metric == "log_loss"
    assert 0 < choice.score < np.log(2)


@pytest.mark.parametrize(("folded_rows", "counts"), [(90, [60, 30]), (89, [60])])
def test_in_time_the_latest_rows_come_first(table, settings, monkeypatch, *, folded_rows, counts):
    """Of a large table they are what is held back, and iterations are found on what comes first."""
    monkeypatch.setattr(auto, "_FOLDED_ROWS", folded_rows)
    config = settings("auto", split={"method": "time", "column": "at"})
    pairs = auto._pairs(config, table.assign(at=range(90)), table["price"].to_numpy())
    assert [len(train) for train, _ in pairs] == counts
    assert pairs[0][1].tolist() == list(range(60, 90))


@pytest.mark.parametrize(("task", "split"), [("classification", "random"), ("regression", "group")])
def test_few_rows_of_a_class_or_few_groups_are_enough(table, settings, monkeypatch, *, task, split):
    """One row of a class, or three groups, make as many folds as they can."""
    monkeypatch.setattr(auto, "_FOLDS", 4)
    few = table.assign(group=np.arange(90) % 3, dear=np.where(np.arange(90) == 5, "rare", table["dear"]))
    config = settings("auto", task=task, split={"method": split, "column": "group"})
    choice = found(config, few)
    assert any(trial.score is not None for trial in choice.trials)


def test_a_target_without_reason(table, settings):
    """On a shuffled target the choice promises no more than the mean does."""
    shuffled = np.random.default_rng(0).permutation(table["price"])
    choice = found(settings("auto"), table.assign(price=shuffled))
    assert choice.score > 0.9 * np.std(shuffled)


def test_a_transformed_target(table, settings):
    """Iterations are found on the target as it is learned, and scores are in its own units."""
    config = settings("auto", training={"target_transform": "quantile"})
    assert found(config, table).score < np.std(table["price"])


def test_a_target_without_a_logarithm_costs_no_time(table, settings):
    """It is said before anything is tried, as for any other algorithm."""
    config = settings("auto", training={"target_transform": "log"})
    with pytest.raises(DataInvalidError, match="values below zero, which have no logarithm"):
        found(config, table.assign(price=table["price"] - 10))


def test_what_takes_no_gaps_is_left_out(table, settings):
    """Where gaps are not filled, neither a linear model nor a network is tried."""
    config = settings("auto")
    numeric = config.features.numeric.model_copy(update={"impute": "none"})
    features = config.features.model_copy(update={"numeric": numeric})
    choice = found(config.model_copy(update={"features": features}), table)
    assert not {"linear", "mlp"} & {trial.algorithm for trial in choice.trials}


def test_the_trainer_searches_once(table, settings, monkeypatch):
    """A trainer searches before its first fit, and keeps to what it found."""
    calls = []

    def once(config, X, *, y):
        calls.append((config.model.algorithm, len(X), len(y)))
        return Outcome(
            algorithm="linear", hyperparameters={"alpha": 2.0}, metric="rmse", score=1, trials=(), seconds=0
        )

    monkeypatch.setattr("modelbook.models.train.search", once)
    trainer = ModelTrainer(settings("auto"))
    for _ in range(2):
        model = trainer.train(table.drop(columns="price"), table["price"])
    assert calls == [("auto", len(table), len(table))]
    assert (type(model[-1]).__name__, model[-1].alpha) == ("RowwiseRidge", 2.0)
    assert trainer.config.model.algorithm == "auto"
