"""`run --explain`: what would run and why, with nothing run, locked or written."""

import orjson
import pytest

from modelbook.errors import ConfigError, NotFoundError, UsageError
from modelbook.files import file_hash
from modelbook.pipeline.explain import explain_run

STAGES = ["ingest", "validate", "preprocess", "train", "register"]
TREES = "model.hyperparameters.random_forest.n_estimators"
PERHAPS = "DVC restores it instead where its cache holds a run with the same inputs"


def prospects(plans):
    return [plan.prospect for plan in plans]


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_nothing_would_run(finished_project):
    """Of a project that is up to date every stage is said to stay as it is."""
    plans = explain_run(finished_project.root)
    assert [(plan.name, plan.prospect, plan.why) for plan in plans] == [
        (name, "cached", ()) for name in STAGES
    ]


def test_everything_would_run_the_first_time(new_project):
    """A new project's stages have not run yet."""
    plans = explain_run(new_project.root)
    assert prospects(plans) == ["runs"] * 5
    assert plans[0].why == ("it has not run yet",)


def test_a_changed_setting_and_what_follows(project):
    """The stage that reads the setting names it, what follows names the stage that makes its inputs anew."""
    project.set({TREES: "6"})
    *before, train, register = explain_run(project.root)
    assert prospects(before) == ["cached"] * 3
    assert (train.prospect, train.why) == ("runs", (f"{TREES}: 5 → 6",))
    assert register.why == tuple(
        f"its input models/{name} is made anew by train"
        for name in ("code", "metadata.json", "metrics.json", "model.skops", "test_predictions.parquet")
    )


def test_a_changed_file_is_named_with_both_hashes(project):
    """A changed file is named with its old and new hash; a stage that might be restored says so."""
    old = file_hash(project.root / "features.py", "md5")[:8]
    project.write("features.py", '"""Changed."""\n')
    new = file_hash(project.root / "features.py", "md5")[:8]
    plans = explain_run(project.root)
    assert prospects(plans) == ["cached", "cached", "runs", "runs", "runs"]
    assert plans[2].why == (f"features.py changed: {old} → {new}",)
    assert plans[3].why[-1] == PERHAPS
    assert PERHAPS not in plans[4].why


def test_what_dvc_holds_would_be_restored(project):
    """A stage that DVC's cache holds with these very inputs is said to come back from there."""
    (project.root / "models/model.skops").unlink()
    plans = explain_run(project.root)
    assert plans[3].prospect == "restored"
    assert plans[3].why == ("its output models/model.skops is missing",)
    assert [stage.status for stage in project.run().stages[3:]] == ["restored", "cached"]


def test_a_source_that_dvc_brings_is_no_reason(project):
    """A source that is away and in DVC's care is fetched by a run, which then has nothing to do."""
    (project.root / "data/raw/houses.csv").unlink()
    assert prospects(explain_run(project.root)) == ["cached"] * 5


def test_a_setting_that_is_only_proposed(project):
    """With `--set` the plan is the one of the changed settings, and the file stays as it is."""
    before = contents(project.root)
    plans = explain_run(project.root, settings={TREES: "6"})
    assert plans[3].why == (f"{TREES}: 5 → 6",)
    plans = explain_run(project.root, settings={"model.algorithm": "linear"})
    assert plans[3].why[0] == "model.algorithm: random_forest → linear"
    assert contents(project.root) == before


def test_settings_that_are_refused(finished_project):
    """A proposed setting is validated as a written one is."""
    with pytest.raises(ConfigError, match="1 mistake"):
        explain_run(finished_project.root, settings={"split.seed": "-1"})


def test_nothing_is_touched(project, modelbook):
    """The command leaves every file as it was and adds none, locks and dvc.lock included."""
    project.set({TREES: "6"})
    before = contents(project.root)
    assert modelbook("-C", project.root, "run", "--explain").code == 0
    assert contents(project.root) == before


def test_the_document(finished_project, modelbook):
    """With `--json` there is one document with every stage, its prospect and the reasons."""
    answer = modelbook("-C", finished_project.root, "--json", "run", "--explain", "--set", f"{TREES}=6")
    assert answer.code == 0
    stages = orjson.loads(answer.stdout)["stages"]
    assert [stage["name"] for stage in stages] == STAGES
    assert stages[3] == {"name": "train", "prospect": "runs", "why": [f"{TREES}: 5 → 6"]}


def test_the_table(finished_project, modelbook):
    """People get a line for each reason."""
    answer = modelbook("-C", finished_project.root, "run", "--explain", "--set", f"{TREES}=6")
    assert "ingest\tcached\tnothing changed\n" in answer.stdout
    assert f"train\truns\t{TREES}: 5 → 6\n" in answer.stdout
    assert "register\truns\tits input models/code is made anew by train\n" in answer.stdout
    assert "\t\tits input models/metrics.json is made anew by train\n" in answer.stdout


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"use_dvc": False}, "without DVC every stage runs"),
        ({"force": True}, "it is forced"),
        ({"use_dvc": False, "force": True}, "it is forced"),
    ],
)
def test_what_runs_whatever_changed(finished_project, options, why):
    """Without DVC, and with `--force`, every stage runs, and that is the reason."""
    plans = explain_run(finished_project.root, **options)
    assert [(plan.name, plan.prospect, plan.why) for plan in plans] == [
        (name, "runs", (why,)) for name in STAGES
    ]


def test_refresh_cannot_be_explained(finished_project, modelbook):
    """What a source holds now is not known before it was read, so `--refresh` is refused."""
    answer = modelbook("-C", finished_project.root, "run", "--explain", "--refresh")
    assert answer.code == 2
    assert "--explain and --refresh do not go together" in answer.stderr


def test_no_dvc(tmp_path, project):
    """A project that DVC does not know is told so, with the way out."""
    (project.root / ".dvc").rename(tmp_path / "away")
    with pytest.raises(UsageError, match="not under DVC's care") as caught:
        explain_run(project.root)
    assert "--no-dvc" in caught.value.hint


def test_no_project(tmp_path):
    """Where there is no project there is nothing to explain."""
    with pytest.raises(NotFoundError, match="no config file"):
        explain_run(tmp_path)
