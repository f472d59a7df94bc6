"""Sweeps of a real project: on record in MLflow, taken up again, and leaving the project alone."""

import json
import platform
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import orjson
import pytest

from modelbook.errors import (
    ConfigError,
    ModelbookError,
    NotFoundError,
    StorageError,
    TrackingStoreError,
    UsageError,
)
from modelbook.logs import PipelineLogger
from modelbook.pipeline.recorded import find_recorded
from modelbook.pipeline.reproduction.reproduce import reproduce_run
from modelbook.pipeline.sweeps import sweep as sweep_module
from modelbook.pipeline.sweeps.recorder import SweepRecorder, kept_trial
from modelbook.pipeline.sweeps.records import SweepRecord, TrialRecord
from modelbook.pipeline.sweeps.space import as_space, parse_grid
from modelbook.pipeline.sweeps.sweep import SweepPlan, run_sweep
from modelbook.pipeline.sweeps.trials import SweepTrials
from modelbook.pipeline.syncing import sync
from modelbook.registry.registry import ModelRegistry
from modelbook.tracking.journal import run_before
from modelbook.tracking.lineage import command_line
from modelbook.tracking.outbox import waiting

TREES = "model.hyperparameters.random_forest.n_estimators"
DEPTH = "model.hyperparameters.random_forest.max_depth"


def grid(**options):
    """Return a plan of a grid, given as its keys and values."""
    plan = {name: options.pop(name) for name in ("timeout_s", "metric") if name in options}
    return SweepPlan(space=parse_grid(options.pop("of").items()), **plan)


def children(project, outcome):
    """Return the runs of a sweep's trials as MLflow holds them, by number."""
    found = [run for run in project.recorded if run.data.tags.get("mlflow.parentRunId") == outcome.run_id]
    return {int(run.data.tags["modelbook.trial"]): run for run in found}


@pytest.fixture(scope="module")
def swept(finished_project, tmp_path_factory):
    """Return a project that was swept, what came of it, and what its files were before."""
    project = finished_project.copy(tmp_path_factory.mktemp("swept") / "houses")
    before = held(project)
    outcome = run_sweep(project.root, grid(of={TREES: "4,9,14", "features.numeric.scale": "robust"}))
    return project, outcome, before


def held(project):
    """Return what a sweep must leave as it is."""
    paths = [
        path for name in ("config", "models", "data", "reports") for path in (project.root / name).rglob("*")
    ]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def test_every_point_of_a_grid_is_a_run_of_its_own_within_the_sweeps(swept):
    """Each has its parameters, metrics, lineage and files, and is finished; so is the run they belong to."""
    project, outcome, _ = swept
    parent, found = project.client.get_run(outcome.run_id), children(project, outcome)
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", outcome.run_name)
    assert {number: run.data.params["n_estimators"] for number, run in found.items()} == {
        0: "4",
        1: "9",
        2: "14",
    }
    for trial in outcome.trials:
        run = found[trial.number]
        assert (run.info.run_id, run.info.status, run.info.run_name) == (
            trial.run_id,
            "FINISHED",
            trial.run_name,
        )
        assert run.data.params["features.numeric.scale"] == "robust"
        assert run.data.metrics == pytest.approx(trial.metrics)
        assert run.data.tags["modelbook.git.dirty"] == "true"
        assert run.inputs.dataset_inputs
        names = {file.path for file in project.client.list_artifacts(trial.run_id)}
        assert names >= {"metadata.json", "config.yaml", "environment.lock", "uncommitted.patch"}
    assert len({run.data.tags["modelbook.config_sha256"] for run in found.values()}) == 3
    assert parent.data.metrics == {"best_test_rmse": outcome.best_trial.score}


def test_a_sweep_leaves_the_project_alone(swept):
    """Settings, data, outputs, reports and registry are byte for byte what they were; git sees no change."""
    project, _, before = swept
    assert held(project) == before
    assert len(ModelRegistry(project.config).versions()) == 1
    assert project.versions == [1]
    assert project.git("status", "--porcelain") == ""


def test_the_best_is_said_with_how_sure_that_is(swept):
    """By test rows it is the one with the lowest RMSE, held against the next by an interval."""
    _, outcome, _ = swept
    scores = {trial.number: trial.metrics["test_rmse"] for trial in outcome.trials}
    order = sorted(scores, key=scores.get)
    assert [outcome.best, outcome.runner_up] == order[:2]
    assert outcome.difference.difference == pytest.approx(scores[order[1]] - scores[order[0]])
    assert outcome.difference.lower <= outcome.difference.difference <= outcome.difference.upper
    assert f"Held against trial {outcome.runner_up}" in outcome.sentence
    assert f" --set {TREES}=" in outcome.command


def test_the_best_can_be_made_again_bit_for_bit(swept):
    """`reproduce` of a trial's run says identical: metrics, predictions and model digest."""
    project, outcome, _ = swept
    result = reproduce_run(project.root, outcome.best_trial.run_id)
    assert result.verdict == "identical", result.causes
    assert {"predictions", "model digest"} <= {check.name for check in result.checks}


def test_a_trial_is_what_a_run_with_its_settings_is(swept, tmp_path):
    """Metrics, predictions, digest and parameters are those of `modelbook run --set`."""
    project, outcome, _ = swept
    own = project.copy(tmp_path / "houses")
    best = outcome.best_trial
    own.run(settings={key: json.dumps(value) for key, value in best.settings.items()})
    run = project.client.get_run(best.run_id)
    assert own.metadata.metrics == best.metrics
    assert own.metadata.params == run.data.params
    kept = project.root / "logs/runs" / run.data.tags["modelbook.uid"]
    recorded = orjson.loads((kept / "metadata.json").read_bytes())
    assert recorded["model"]["digest"] == own.metadata.model.digest
    assert (kept / "test_predictions.parquet").read_bytes() == (
        own.root / "models/test_predictions.parquet"
    ).read_bytes()


def test_a_sweep_that_is_done_is_not_done_again(swept):
    """The same plan gives the same outcome and makes no run."""
    project, outcome, _ = swept
    before = len(project.recorded)
    again = run_sweep(project.root, grid(of={TREES: "4,9,14", "features.numeric.scale": "robust"}))
    assert again == outcome
    assert len(project.recorded) == before


def test_a_sweep_that_the_store_forgot_is_entered_again_without_a_fit(swept, tmp_path, empty_store):
    """With a new database every trial is entered from the journal, under its own id and times."""
    project, outcome, _ = swept
    own = project.copy(tmp_path / "houses")
    (own.root / "logs/mlflow.db").write_bytes(empty_store.read_bytes())
    again = run_sweep(own.root, grid(of={TREES: "4,9,14", "features.numeric.scale": "robust"}))
    found = children(own, again)
    assert sorted(found) == [0, 1, 2]
    assert [trial.metrics for trial in again.trials] == [trial.metrics for trial in outcome.trials]
    assert [trial.seconds for trial in again.trials] == [trial.seconds for trial in outcome.trials]
    assert {run.info.status for run in own.recorded} == {"FINISHED"}


def test_a_trial_is_not_the_run_before_another(swept):
    """A run's report compares it with the run before it, not with a trial that happened in between."""
    project, outcome, _ = swept
    latest = kept_trial(
        project.config, project.client.get_run(outcome.trials[-1].run_id).data.tags["modelbook.uid"]
    )
    later = project.metadata.model_copy(update={"uid": "later", "started_at": latest.ended_at})
    assert run_before(project.config, later).uid == project.metadata.uid


@contextmanager
def once_on_record(number, what):
    """Have something happen as soon as a trial is on record."""
    said = SweepTrials._say

    def say(self, record):
        said(self, record)
        if record.number == number:
            what()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SweepTrials, "_say", say)
        yield


def interrupted_after(number, project, plan):
    """Begin a sweep, and interrupt it as soon as a trial is on record."""

    def interrupt():
        raise KeyboardInterrupt

    with once_on_record(number, interrupt), pytest.raises(KeyboardInterrupt):
        run_sweep(project.root, plan)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////dev/null/mlflow.db"])
def test_a_trial_is_not_the_latest_where_the_store_is_away(swept, monkeypatch, *, uri):
    """Where no server answers, or the database cannot be opened, it is a run of the journal that is none."""
    project, _, _ = swept
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    found = find_recorded(project.config, "latest", PipelineLogger("test"))
    assert kept_trial(project.config, found.metadata.uid) is None


def test_an_interrupted_sweep_is_gone_on_with(project):
    """Its run is marked as killed; the same plan makes what is missing, and every trial is there once."""
    interrupted_after(1, project, grid(of={TREES: "3,4,5"}))
    parent = next(run for run in project.recorded if run.info.run_name.startswith("sweep_"))
    assert parent.info.status == "KILLED"
    outcome = run_sweep(project.root, grid(of={TREES: "3,4,5"}))
    assert outcome.run_id == parent.info.run_id
    assert sorted(children(project, outcome)) == [0, 1, 2]
    assert {run.info.status for run in project.recorded} == {"FINISHED"}


def test_a_trial_is_recorded_with_the_packages_that_it_was_made_with(project, caplog):
    """Gone on with after an upgrade, or elsewhere, a sweep says so; its further trials name what is now."""
    interrupted_after(0, project, grid(of={TREES: "3,4"}))
    path = next(project.root.glob("logs/sweeps/*/sweep.json"))
    sweep = SweepRecord.read(path)
    old = sweep.lineage.environment.model_copy(update={"python": "3.8.1", "sha256": "0" * 64})
    lineage = sweep.lineage.model_copy(update={"environment": old, "host": "elsewhere", "command": "before"})
    sweep.model_copy(update={"lineage": lineage}).write(path)
    later = children(project, run_sweep(project.root, grid(of={TREES: "3,4"})))[1].data.tags
    assert later["modelbook.python"] == platform.python_version()
    assert later["modelbook.environment_sha256"] == project.metadata.lineage.environment.sha256
    assert (later["modelbook.host"], later["modelbook.command"]) == (platform.node(), command_line())
    assert "Python: 3.8.1 →" in caplog.text


def test_a_sweep_stops_where_its_code_is_changed(project):
    """No trial is recorded with code that may not have made it; with the former code it is gone on with."""
    project.write("features.py", '"""Before."""\n')
    edit = partial(project.write, "features.py", '"""After."""\n')
    with once_on_record(0, edit), pytest.raises(UsageError, match=r"features\.py was changed") as caught:
        run_sweep(project.root, grid(of={TREES: "3,4"}))
    assert "another sweep" in caught.value.hint
    begun = [run.data.tags.get("modelbook.trial") for run in project.recorded]
    assert "1" not in begun
    project.write("features.py", '"""Before."""\n')
    found = children(project, run_sweep(project.root, grid(of={TREES: "3,4"})))
    assert len({run.data.tags["modelbook.sweep"] for run in found.values()}) == 1
    for run in found.values():
        patch = project.client.download_artifacts(run.info.run_id, "uncommitted.patch")
        assert "Before." in Path(patch).read_text()


def test_a_sweep_without_its_server_loses_nothing(project, monkeypatch):
    """All waits in the outbox; delivered, the trials belong to the sweep's run as that store has it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    outcome = run_sweep(project.root, grid(of={TREES: "3,4"}))
    assert outcome.recorded == "outbox"
    assert len(waiting(project.config)) == 3
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert sync(project.config).error is None
    parent = next(run for run in project.recorded if run.info.run_name == outcome.run_name)
    delivered = [
        run for run in project.recorded if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    assert [run.data.params["n_estimators"] for run in delivered] == ["3", "4"]
    assert {run.info.status for run in delivered} == {"FINISHED"}


def test_tpe_never_looks_at_test_rows(project):
    """Without cross-validation training rows are held back; more trials go on where fewer ended."""
    space = as_space({TREES: {"low": 2, "high": 20}, DEPTH: [None, 3, 5]}, where="here")
    outcome = run_sweep(project.root, SweepPlan(space=space, trials=3))
    assert (outcome.metric, outcome.chosen_by) == ("validation_rmse", "validation")
    more = run_sweep(project.root, SweepPlan(space=space, trials=5))
    assert more.trials[:3] == outcome.trials
    assert more.run_id == outcome.run_id
    assert sorted(children(project, more)) == [0, 1, 2, 3, 4]
    best = reproduce_run(project.root, more.best_trial.run_id)
    assert best.verdict == "identical", best.causes


def test_cross_validation_judges_where_it_is_set(project):
    """Trials are judged by the mean over the folds, whose scores are on record one by one."""
    project.set({"training.cv_folds": "3", "training.n_jobs": "1"})
    outcome = run_sweep(project.root, grid(of={TREES: "3,4,5"}, metric="mae"))
    assert (outcome.metric, outcome.chosen_by) == ("cv_mae_mean", "cv")
    trial = outcome.best_trial
    assert trial.score == trial.metrics["cv_mae_mean"] == min(trial.score for trial in outcome.trials)
    history = project.client.get_metric_history(trial.run_id, "fold_score")
    assert [point.step for point in history] == [0, 1, 2]
    assert history[-1].value == pytest.approx(trial.score)
    assert {run.data.tags["modelbook.threads"] for run in children(project, outcome).values()} == {"1"}


def test_features_are_fitted_once_for_all_algorithms(project):
    """In whatever order a grid is given, trials with the same features come one after the other."""
    project.write(
        "features.py",
        "from pathlib import Path\n"
        "from sklearn.base import BaseEstimator, TransformerMixin\n\n\n"
        "class Noted(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, X, y=None):\n"
        "        with Path('logs/fits').open('a') as file:\n"
        "            print('fit', file=file)\n"
        "        return self\n\n"
        "    def transform(self, X):\n"
        "        return X\n",
    )
    project.set({"features.custom": "Noted"})
    of = {"model.algorithm": "linear,random_forest", "features.numeric.scale": "standard,none"}
    outcome = run_sweep(project.root, grid(of=of))
    assert [tuple(trial.settings.values()) for trial in outcome.trials] == [
        ("standard", "linear"),
        ("standard", "random_forest"),
        ("none", "linear"),
        ("none", "random_forest"),
    ]
    assert {trial.state for trial in outcome.trials} == {"complete"}
    assert len((project.root / "logs/fits").read_text().splitlines()) == 2


def test_trials_on_other_test_rows_are_not_compared(project):
    """Any setting can be swept; how sure a difference is cannot be said across test rows."""
    outcome = run_sweep(project.root, grid(of={"split.seed": "1,2"}))
    assert outcome.difference is None
    assert "other test rows" in outcome.sentence


def test_a_trial_that_fails_is_on_record_with_its_reason(project):
    """The others go on; it never is the best, and its run is marked as failed."""
    outcome = run_sweep(project.root, grid(of={"data.min_rows": "100000,20"}))
    assert [trial.state for trial in outcome.trials] == ["failed", "complete"]
    assert outcome.best == 1
    failed = children(project, outcome)[0]
    assert failed.info.status == "FAILED"
    assert "100000" in failed.data.tags["modelbook.trial.error"]


def test_a_trial_without_a_score_fails_alone(project):
    """Where a fold's score is no number the trial has failed, with that for its reason."""
    project.write(
        "features.py",
        "import numpy as np\n"
        "from sklearn.dummy import DummyRegressor\n\n\n"
        "class Wild(DummyRegressor):\n"
        "    def __init__(self, *, strategy='mean', constant=None, quantile=None):\n"
        "        super().__init__(strategy=strategy, constant=constant, quantile=quantile)\n\n"
        "    def predict(self, X):\n"
        "        return super().predict(X) * (np.inf if self.strategy == 'median' else 1.0)\n",
    )
    project.set({"model.algorithm": "Wild", "model.hyperparameters.Wild": "{}", "training.cv_folds": "2"})
    outcome = run_sweep(project.root, grid(of={"model.hyperparameters.Wild.strategy": "median,mean"}))
    assert [trial.state for trial in outcome.trials] == ["failed", "complete"]
    assert outcome.trials[0].error == "the trial has no score; cv_rmse; nan"


def test_a_sweep_whose_trials_all_fail_says_why(project, monkeypatch):
    """The first reason is passed on, and each trial is on record with its own, however slow the store is."""
    begun = SweepRecorder._begun
    monkeypatch.setattr(
        SweepRecorder, "_begun", lambda *words, **named: time.sleep(3) or begun(*words, **named)
    )
    with pytest.raises(ModelbookError, match="all 2 trials failed") as caught:
        run_sweep(project.root, grid(of={"data.min_rows": "100000,200000"}))
    assert "100000" in caught.value.got
    reasons = [run.data.tags.get("modelbook.trial.error", "") for run in project.recorded]
    assert [any(least in reason for reason in reasons) for least in ("100000", "200000")] == [True, True]


@pytest.mark.parametrize(("deaths", "becomes"), [(1, "complete"), (2, "failed")])
def test_a_process_that_dies_costs_its_trial_alone(project, *, deaths, becomes):
    """A trial whose process dies is tried once more after the others; where it dies again it has failed."""
    project.write(
        "features.py",
        "import os\n"
        "from pathlib import Path\n"
        "from sklearn.dummy import DummyRegressor\n\n\n"
        "class Deadly(DummyRegressor):\n"
        "    def __init__(self, *, strategy='mean', constant=None, quantile=None):\n"
        "        super().__init__(strategy=strategy, constant=constant, quantile=quantile)\n\n"
        "    def fit(self, X, y, sample_weight=None):\n"
        f"        if self.strategy == 'median' and len(list(Path('logs').glob('died_*'))) < {deaths}:\n"
        "            Path(f'logs/died_{os.getpid()}').touch()\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return super().fit(X, y, sample_weight)\n",
    )
    project.set({"model.algorithm": "Deadly", "model.hyperparameters.Deadly": "{}"})
    outcome = run_sweep(project.root, grid(of={"model.hyperparameters.Deadly.strategy": "median,mean"}))
    assert [trial.state for trial in outcome.trials] == [becomes, "complete"]
    assert becomes == "complete" or "ended with -9" in outcome.trials[0].error
    times = [children(project, outcome)[number].info.start_time for number in range(2)]
    assert times[0] > times[1]


def test_a_full_disk_stops_a_sweep_that_can_be_gone_on_with(project, monkeypatch):
    """The error is the disk's, not a trial's; with room again the sweep is completed."""
    write = TrialRecord.write

    def full(_record, path):
        raise StorageError("a file cannot be written", where=str(path))

    monkeypatch.setattr(TrialRecord, "write", full)
    with pytest.raises(StorageError):
        run_sweep(project.root, grid(of={TREES: "3,4"}))
    monkeypatch.setattr(TrialRecord, "write", write)
    assert sorted(children(project, run_sweep(project.root, grid(of={TREES: "3,4"})))) == [0, 1]


def test_a_trial_that_ended_is_kept_where_the_store_refuses_it(project, monkeypatch):
    """The sweep stops for what the store says, and no fit that was done is done again."""

    def refuse(*_, **__):
        raise TrackingStoreError("the store takes nothing")

    with monkeypatch.context() as patch:
        patch.setattr(SweepRecorder, "_begun", refuse)
        with pytest.raises(TrackingStoreError, match="takes nothing"):
            run_sweep(project.root, grid(of={TREES: "3,4"}))
    first = next(project.root.glob("logs/runs/*/trial.json"))
    made_at = TrialRecord.read(first).ended_at
    run_sweep(project.root, grid(of={TREES: "3,4"}))
    assert TrialRecord.read(first).ended_at == made_at


def test_a_time_limit_leaves_trials_to_be_gone_on_with(project):
    """With no time at all no trial is completed, and that is said; the same plan with time completes them."""
    with pytest.raises(NotFoundError, match="no trial came to an end"):
        run_sweep(project.root, grid(of={TREES: "3"}, timeout_s=0.0))
    assert run_sweep(project.root, grid(of={TREES: "3"})).is_finished


def test_a_time_limit_does_not_count_the_wait_for_another_run(project, monkeypatch):
    """The time is that which a sweep has once it holds the project."""
    deadlines, held_from = [], []

    @contextmanager
    def hold(*_, **__):
        time.sleep(0.1)
        held_from.append(time.monotonic())
        yield

    monkeypatch.setattr(sweep_module, "hold_project", hold)
    monkeypatch.setattr(sweep_module, "_run", lambda *_, deadline, **__: deadlines.append(deadline))
    run_sweep(project.root, grid(of={TREES: "3"}, timeout_s=60.0), is_waiting=True)
    assert deadlines[0] - 60.0 >= held_from[0]


def test_without_mlflow_a_sweep_is_on_record_in_the_journal(project):
    """Its trials are listed like runs, and can be made again."""
    project.set({"training.enable_mlflow": "false"})
    project.commit()
    outcome = run_sweep(project.root, grid(of={TREES: "3,4"}))
    assert outcome.recorded == "local"
    assert kept_trial(project.config, outcome.best_trial.run_id).number == outcome.best
    assert reproduce_run(project.root, outcome.best_trial.run_id).verdict == "identical"


@pytest.mark.parametrize(
    ("space", "error", "said"),
    [
        ({"model.nothing": "1,2"}, ConfigError, "model.nothing: unknown key"),
        ({"split.test_size": "0.2,7"}, ConfigError, "split.test_size"),
        ({"model.hyperparameters.random_forest.trees": "1,2"}, ConfigError, "trees: unknown"),
        ({DEPTH: "3,-1"}, ConfigError, "max_depth"),
        ({"model.algorithm": "random_forest,florest"}, ConfigError, "florest"),
        ({"training.cv_folds": "0,3"}, UsageError, "training.cv_folds"),
    ],
)
def test_settings_that_are_not_accepted_are_refused_before_any_trial(fresh, *, space, error, said):
    """The key is named, and nothing is recorded."""
    with pytest.raises(error) as caught:
        run_sweep(fresh.root, grid(of=space))
    assert said in str(caught.value)
    assert fresh.recorded == []


def test_the_command_prints_one_document(fresh, modelbook):
    """`--json` has every trial, the best, and what makes it the project's own."""
    done = modelbook("-C", fresh.root, "--json", "sweep", "--grid", f"{TREES}=3,4", "--metric", "mae")
    assert done.code == 0, done.stderr
    document = json.loads(done.stdout)
    assert [trial["settings"] for trial in document["trials"]] == [{TREES: 3}, {TREES: 4}]
    assert document["metric"] == "test_mae"
    assert document["trials"][document["best"]]["score"] == min(
        trial["score"] for trial in document["trials"]
    )
    assert document["command"] == f"run --set {TREES}={3 + document['best']}"
    again = modelbook("-C", fresh.root, "sweep", "--grid", f"{TREES}=3,4", "--metric", "mae")
    assert "nothing changed since" in again.stderr
    assert "best     trial" in again.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--grid", "split.seed=1", "--trials", "2"], 2, "--grid or --trials"),
        ([], 2, "--grid or --trials"),
        (["--grid", "split.seed=1", "--space", "s.yaml"], 2, "--space goes with --trials"),
        (["--trials", "2", "--space", "none.yaml"], 5, "there is no such space file"),
        (["--trials", "0"], 2, "--trials"),
        (["--grid", "split.seed"], 2, "--grid takes KEY=VALUE"),
        (["--grid", "split.seed=1,2", "--metric", "accuracy"], 2, "no such metric"),
        (["--grid", "serving.port=1,2"], 2, "bears on no result"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(new_project, modelbook, *, words, code, said):
    """What is wrong is said, with the exit code of its kind."""
    done = modelbook("-C", new_project.root, "sweep", *words)
    assert done.code == code
    assert said in done.stderr
