import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelbook.config import Config, load_config
from modelbook.errors import NotFoundError, UsageError
from modelbook.files import write_whole
from modelbook.records import EvaluationReport, GateDecision, GateVerdict
from modelbook.tracking.journal import keep_run, kept_evaluation, kept_runs, run_before
from modelbook.tracking.runs import fetch_report, find_run, list_runs

BEGAN = datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return a project that keeps its record without MLflow."""
    monkeypatch.chdir(tmp_path)
    return load_config({"training": {"enable_mlflow": False}}, environ={})


@pytest.fixture
def enter(config: Config, make_metadata):
    """Return a function that enters a run into the journal."""

    def entered(uid: str, *, hours: int = 0, verdict: GateVerdict = GateVerdict.PASSED, **fields):
        metadata = make_metadata(uid, started_at=BEGAN + timedelta(hours=hours), **fields)
        evaluation = EvaluationReport(
            run_id=uid,
            uid=uid,
            metrics={"rmse": 2.5},
            threshold_checks={},
            all_checks_passed=True,
            gate=GateDecision(verdict=verdict, checks=()),
        )
        keep_run(config, metadata, evaluation=evaluation, report=f"<p>{verdict}</p>")
        return metadata

    return entered


def test_nothing_yet(config: Config):
    """A project that has not run has an empty journal."""
    assert kept_runs(config) == []
    assert kept_evaluation(config, "a") is None


def test_what_is_kept(config: Config, enter):
    """Of a run its record, its evaluation and its report are kept."""
    metadata = enter("a")
    assert kept_runs(config) == [metadata]
    evaluation = kept_evaluation(config, "a")
    assert evaluation is not None
    assert evaluation.gate.verdict == "passed"
    assert sorted(path.name for path in config.path("logs/runs/a").iterdir()) == [
        *("evaluation_report.json", "metadata.json", "report.html")
    ]


def test_judged_anew(config: Config, enter):
    """What is judged anew takes the place of the former verdict."""
    enter("a")
    enter("a", verdict=GateVerdict.REJECTED)
    evaluation = kept_evaluation(config, "a")
    assert evaluation is not None
    assert evaluation.gate.verdict == "rejected"
    assert config.path("logs/runs/a/report.html").read_text() == "<p>rejected</p>"


def test_the_latest_first(config: Config, enter):
    """Runs come by the time that they began, the latest first, and each knows the one before."""
    second, first, third = enter("a", hours=2), enter("b", hours=1), enter("c", hours=3)
    assert kept_runs(config) == [third, second, first]
    assert run_before(config, third) == second
    assert run_before(config, first) is None


@pytest.mark.parametrize("content", [b"", b'{"uid": "b"', b'{"schema_version": 9}'])
def test_a_damaged_entry(config: Config, enter, content: bytes, *, caplog, monkeypatch):
    """An entry that cannot be read is named and left out; the others are there."""
    monkeypatch.setattr(logging.getLogger("modelbook"), "propagate", True)
    metadata = enter("a")
    enter("b")
    path = config.path("logs/runs/b/metadata.json")
    path.write_bytes(content)
    assert kept_runs(config) == [metadata]
    assert caplog.messages == [f"{path} cannot be read: that run is left out"]


# --- The journal as the list of runs, where MLflow is off


def test_runs_without_mlflow(config: Config, enter):
    """The journal's runs are listed as MLflow's are, the latest first, as many as are asked for."""
    enter("a", hours=1)
    enter("b", hours=2, verdict=GateVerdict.REJECTED)
    runs = list_runs(config)
    assert [(run.run_id, run.gate, run.status, run.commit) for run in runs] == [
        ("b", "rejected", "FINISHED", "0" * 40),
        ("a", "passed", "FINISHED", "0" * 40),
    ]
    assert list_runs(config, limit=1) == runs[:1]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("metrics.test_rmse", "bca"),
        ("metrics.test_rmse DESC", "cba"),
        ("metrics.test_rmse desc", "cba"),
        ("params.algorithm", "abc"),
        ("metrics.`val loss`", "acb"),
        ('metrics."val loss" DESC', "cab"),
        ("metric.test_rmse", "bca"),
        ("metrics.nothing DESC", "cba"),
    ],
)
def test_sorted_runs(config: Config, enter, sort: str, *, expected: str):
    """Runs are sorted by a metric or a parameter; those without it come last, the latest first."""
    enter("a", hours=1, metrics={"val loss": 1.0}, params={"algorithm": "lasso"})
    enter("b", hours=2, metrics={"test_rmse": 1.0}, params={"algorithm": "ridge"})
    enter("c", hours=3, metrics={"test_rmse": 2.0, "val loss": 2.0}, params={})
    assert "".join(run.run_id for run in list_runs(config, sort=sort)) == expected


@pytest.mark.parametrize("options", [{"sort": "start_time"}, {"query": "params.x = '1'"}])
def test_what_only_mlflow_does(config: Config, options: dict[str, str]):
    """Orders and filters that need MLflow are refused."""
    with pytest.raises(UsageError):
        list_runs(config, **options)


def test_a_run_by_a_short_name(config: Config, enter):
    """A run is found by its id, a beginning that no other has, or as the latest."""
    enter("ab12", hours=1)
    enter("ab", hours=2)
    enter("cd", hours=3)
    assert find_run(config, "ab").run_id == "ab"
    assert find_run(config, "ab1").run_id == "ab12"
    assert find_run(config, "c").run_id == "cd"
    assert find_run(config, "latest").run_id == "cd"


@pytest.mark.parametrize(
    ("ref", "what"), [("a", "more than one run begins so"), ("x", "there is no such run")]
)
def test_no_single_run(config: Config, enter, ref: str, *, what: str):
    """A beginning that several runs have names them; one that none has is not found. Both exit with 5."""
    enter("ab1")
    enter("ab2")
    with pytest.raises(NotFoundError, match=what) as caught:
        find_run(config, ref)
    assert caught.value.exit_code == 5
    assert (caught.value.got or "").count("ab") == (2 if ref == "a" else 0)


def test_no_run_at_all(config: Config):
    """Before the first run the latest is not found."""
    with pytest.raises(NotFoundError):
        find_run(config, "latest")


def test_the_report_of_a_run(config: Config, enter, tmp_path: Path):
    """A report that the journal has is not fetched; one that it has not is not found."""
    enter("a")
    run = find_run(config, "a")
    assert fetch_report(config, run, tmp_path / "r.html") == config.path("logs/runs/a/report.html")
    config.path("logs/runs/a/report.html").unlink()
    with pytest.raises(NotFoundError):
        fetch_report(config, run, tmp_path / "r.html")


def test_a_trial_is_never_the_latest(config: Config, enter):
    """The latest is the latest run that is no trial of a sweep; trials are listed, and found by their ids."""
    enter("run")
    enter("trial", hours=1)
    write_whole(config.path("logs/runs/trial/trial.json"), b'{"sweep_uid": "sweep"}')
    assert [(run.uid, run.parent_uid) for run in list_runs(config)] == [("trial", "sweep"), ("run", None)]
    assert [run.uid for run in list_runs(config, has_trials=False)] == ["run"]
    assert find_run(config, "latest").uid == "run"
    assert find_run(config, "trial").uid == "trial"
