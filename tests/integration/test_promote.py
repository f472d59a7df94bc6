"""A project's versions promoted and rolled back, as its users do it."""

import re
import shutil
from datetime import timedelta

import orjson
import polars as pl
import pytest

from modelbook.records import GateVerdict, RunMetadata
from modelbook.registry.registry import ModelRegistry
from modelbook.tracking.journal import keep_run, kept_evaluation, kept_runs

SETTINGS = (
    {"model.hyperparameters.random_forest.max_depth": "1"},
    {"model.hyperparameters.random_forest.max_depth": "12"},
    {"training.seed": "8"},
)


@pytest.fixture(scope="module")
def versions(new_project, tmp_path_factory):
    """A project with three versions: a poor one, a better one, and one as good as that."""
    project = new_project.copy(tmp_path_factory.mktemp("versions") / "houses")
    for settings in SETTINGS:
        project.set(settings)
        project.commit()
        project.run()
    project.commit()
    return project


@pytest.fixture
def project(versions, tmp_path):
    """Return a project of the test's own with three versions."""
    return versions.copy(tmp_path / "houses")


@pytest.fixture
def name(project):
    return project.config.tracking.model_name


@pytest.fixture
def tell(project, modelbook):
    """Return a function that runs a command on the project and returns its code and its document."""

    def run(*words):
        done = modelbook("-C", project.root, "--json", *words)
        content = orjson.loads(done.stdout)
        return (done.code, content["error"]) if "error" in content else (done.code, content)

    return run


def production(project, name):
    return project.client.get_registered_model(name).aliases.get("production")


def test_a_better_version_is_promoted(project, tell, name):
    """Staging, then production; a better one takes its place, and the numbers are in what is printed."""
    code, first = tell("promote", name, "1", "--to", "staging")
    assert (code, first["stage"], first["gate"], first["previous"]) == (0, "Staging", "passed", None)
    code, second = tell("promote", name, "1", "--to", "production", "--reason", "the first")
    assert (code, second["reason"]) == (0, "the first")
    assert second["notes"] == ["no version is in production yet: there is none to hold it against"]
    local = project.registry[1]["version"]
    code, third = tell("promote", name, local, "--to", "production")
    assert (code, third["version"], third["local_version"], third["previous"]) == (0, "2", local, "1")
    change = third["checks"][-1]
    assert (change["name"], change["passed"], change["rows"]) == ("rmse_change", True, 60)
    assert change["upper"] < 0
    assert str(production(project, name)) == "2"
    assert [entry["stage"] for entry in project.registry] == ["Archived", "Production", "None"]


def test_one_that_is_as_good_is_not(project, tell, name):
    """A version that is no better than production beyond chance is refused (exit 4), unless forced."""
    tell("promote", name, "2", "--to", "production")
    code, error = tell("promote", name, "3", "--to", "production")
    assert (code, error["code"]) == (4, "gate.rejected")
    assert re.match(r"challenge: not better than production beyond chance: rmse \S+ \(\S+ to", error["got"])
    assert "--force --reason TEXT" in error["next"]
    assert str(production(project, name)) == "2"
    code, done = tell("promote", name, "3", "--to", "production", "--force", "--reason", "cheaper to run")
    assert (code, done["reason"]) == (0, "cheaper to run")
    assert done["forced"][0].startswith("challenge: not better")


def test_promoting_twice_changes_nothing(tell, name):
    """A version that is there already stays there, without an entry in the ledger."""
    tell("promote", name, "1", "--to", "production")
    code, done = tell("promote", name, "1", "--to", "production")
    assert (code, done["is_changed"], done["number"]) == (0, False, None)
    assert len(tell("history", name)[1]["entries"]) == 1


def test_a_version_that_was_put_there_past_modelbook(project, tell, name):
    """It is held against what the ledger says is in production, and gets an entry; then doctor is content."""
    tell("promote", name, "2", "--to", "production")
    project.client.set_registered_model_alias(name, "production", "1")
    assert "the ledger says 2" in str(tell("doctor")[1])
    code, error = tell("promote", name, "1", "--to", "production")
    assert (code, error["got"].partition(":")[0]) == (4, "challenge")
    code, done = tell("promote", name, "1", "--to", "production", "--force", "--reason", "it is there")
    assert (code, done["is_changed"], done["number"], done["previous"]) == (0, True, 2, None)
    assert [entry["stage"] for entry in project.registry] == ["Production", "Archived", "None"]
    assert "the ledger says" not in str(tell("doctor")[1])
    assert tell("rollback", name)[1]["version"] == "2"


def test_a_rollback_tells_what_the_gate_said(tell, name):
    """The ledger has a version's gate numbers and its commit also where it is gone back to."""
    for number in ("1", "2"):
        tell("promote", name, number, "--to", "production")
    code, done = tell("rollback", name)
    assert (code, done["checks"][0]["name"]) == (0, "rmse_threshold")
    promoted, _, rolled_back = tell("history", name)[1]["entries"]
    assert (promoted["commit"], rolled_back["commit"]) == (rolled_back["commit"], promoted["commit"])
    assert promoted["commit"]


def test_current_is_the_model_that_lies_in_the_project(project, tell, name):
    """`current` names the version of the model in models/, whatever was registered since."""
    code, done = tell("promote", name, "current", "--to", "staging")
    assert (code, done["version"]) == (0, "3")
    (project.root / "models/metadata.json").unlink()
    code, error = tell("promote", name, "current", "--to", "staging")
    assert (code, error["what"]) == (5, "the model that lies in the project is not registered")


def test_back_and_further_back(project, tell, name):
    """Rollback brings back what was in production before; once more goes further, until there is none."""
    for number in ("1", "2", "3"):
        tell("promote", name, number, "--to", "production", "--force", "--reason", "for the test")
    code, done = tell("rollback", name, "--reason", "complaints")
    assert (code, done["version"], done["previous"], done["reason"]) == (0, "2", "3", "complaints")
    assert [entry["stage"] for entry in project.registry] == ["Archived", "Production", "Archived"]
    assert tell("rollback", name)[1]["version"] == "1"
    code, error = tell("rollback", name)
    assert (code, error["what"]) == (5, "there is no version to go back to")
    code, history = tell("history", name)
    assert [(entry["action"], entry["version"]) for entry in history["entries"]] == [
        ("promote", "1"),
        ("promote", "2"),
        ("promote", "3"),
        ("rollback", "2"),
        ("rollback", "1"),
    ]
    assert (code, history["faults"], history["source"]) == (0, [], "mlflow")
    entry = history["entries"][1]
    assert entry["commit"] == project.client.get_run(entry["run_id"]).data.tags["mlflow.source.git.commit"]
    assert entry["who"]["user"]
    assert entry["gate"] == "passed"


def test_a_version_that_was_deleted_is_passed_over(project, tell, name):
    """Rollback goes to the next one before where a version is gone from MLflow."""
    for number in ("1", "2", "3"):
        tell("promote", name, number, "--to", "production", "--force", "--reason", "for the test")
    project.client.delete_model_version(name, "2")
    code, done = tell("rollback", name)
    assert (code, done["version"]) == (0, "1")


def words(name, version="1", to="production"):
    return ("promote", name, version, "--to", to)


def test_without_a_verdict(project, tell, name):
    """A version that no gate judged, or that it has rejected since, takes force."""
    project.client.set_model_version_tag(name, "1", "modelbook.gate", "none")
    code, error = tell(*words(name))
    assert (code, error["got"]) == (4, "gate: it was never judged")
    version = project.client.get_model_version(name, "2")
    project.client.set_tag(version.run_id, "modelbook.gate", "rejected")
    code, error = tell(*words(name, "2", "staging"))
    assert (code, error["got"]) == (4, "gate: it was rejected")
    code, done = tell(*words(name, "2", "staging"), "--force", "--reason", "we know")
    assert (code, done["forced"]) == (0, ["gate: it was rejected"])


@pytest.mark.parametrize("mlflow", ["true", "false"])
def test_a_later_run_of_the_same_model_was_rejected(project, tell, *, name, mlflow):
    """What the gate said last of a model counts, whichever run made it, and whatever the store knows."""
    run = next(run for run in kept_runs(project.config) if run.model.digest == digest_in(project))
    later = run.model_copy(update={"uid": "later", "started_at": run.started_at + timedelta(hours=1)})
    kept = kept_evaluation(project.config, run.uid)
    checks = [check.model_copy(update={"note": "judged later"}) for check in kept.gate.checks]
    gate = kept.gate.model_copy(update={"verdict": GateVerdict.REJECTED, "checks": tuple(checks)})
    evaluation = kept.model_copy(update={"uid": "later", "gate": gate})
    keep_run(project.config, later, evaluation=evaluation, report="")
    project.set({"training.enable_mlflow": mlflow})
    code, error = tell(*words(name, "current", "staging"))
    assert code == 4
    assert error["got"].startswith("gate: it was rejected")
    digest = digest_in(project)
    assert {one["gate"] for one in tell("models", name)[1] if one["digest"] == digest} == {"rejected"}
    forced = tell(*words(name, "current", "staging"), "--force", "--reason", "for its numbers")[1]
    assert forced["checks"][0]["note"] == "judged later"


def test_another_clone_rejected_the_same_model(project, tell, name):
    """A later run of the same model that another clone recorded counts."""
    version = project.client.get_model_version(name, "1")
    first = project.client.get_run(version.run_id)
    tags = {"modelbook.model_digest": version.tags["modelbook.model_digest"], "modelbook.gate": "rejected"}
    later = first.info.start_time + 60_000
    project.client.create_run(first.info.experiment_id, start_time=later, tags=tags)
    code, error = tell(*words(name, "1", "staging"))
    assert (code, error["got"]) == (4, "gate: it was rejected")


def digest_in(project):
    return RunMetadata.read(project.root / "models/metadata.json").model.digest


@pytest.mark.parametrize("place", ["mlflow", "local"])
def test_other_bytes_than_recorded(project, tell, *, name, place):
    """A model file with one byte changed, in either registry, is refused (exit 8)."""
    entry = ModelRegistry(project.config).find(name, "1")
    path = project.root / entry.file
    if place == "mlflow":
        source = project.client.get_model_version_download_uri(name, "1")
        path = project.root / source.partition(str(project.root) + "/")[2] / "model.skops"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    code, error = tell(*words(name))
    assert (code, error["code"]) == (8, "model_refused")
    assert error["got"].startswith("digest: a file of the model is not the one that was recorded")
    assert production(project, name) is None


def test_other_digest_than_recorded(project, tell, name):
    """A version whose digest is another one in MLflow than in its files is refused (exit 8)."""
    project.client.set_model_version_tag(name, "1", "modelbook.model_digest", "0" * 64)
    code, error = tell(*words(name))
    assert code == 8
    assert "digest: " in error["got"]


def test_a_record_that_lacks_the_difference(project, tell, name):
    """A version made from changed code whose difference is not on record, or from no commit, takes force."""
    with (project.root / "features.py").open("a") as file:
        file.write("# a change\n")
    (project.root / "big.py").write_text("x = 1\n" * 300_000)
    project.set({"training.seed": "9"})
    project.run()
    code, error = tell(*words(name, "4", "staging"))
    assert code == 4
    assert error["got"] == "record: it leaves out what was not committed of big.py"


def test_what_was_not_committed_but_is_on_record(project, tell, name):
    """A version made from changed code with the difference on record is promoted."""
    with (project.root / "features.py").open("a") as file:
        file.write("# a change\n")
    project.set({"training.seed": "9"})
    project.run()
    assert tell(*words(name, "4", "staging"))[0] == 0


def test_rows_that_are_not_to_be_had(project, tell, name):
    """Where the candidate's test rows are gone it cannot be held against production, and is refused."""
    tell("promote", name, "1", "--to", "production")
    shutil.rmtree(project.root / ".dvc/cache")
    (project.root / "data/processed/test.parquet").unlink()
    code, error = tell(*words(name, "2"))
    assert code == 4
    assert error["got"].startswith("challenge: a file of data that the run used is not to be had")
    assert tell(*words(name, "2"), "--force", "--reason", "rows are gone")[0] == 0


def test_rows_that_production_cannot_predict(tell, name, monkeypatch):
    """Where production fails on the candidate's rows that is an objection, which force overrides."""

    def failing(*_, **__):
        raise ValueError("a row of the user's")

    tell("promote", name, "1", "--to", "production")
    monkeypatch.setattr("modelbook.pipeline.lifecycle.contest.in_chunks", failing)
    code, error = tell(*words(name, "2"))
    assert code == 4
    assert error["got"].startswith("challenge: production cannot predict the version's test rows (ValueError")
    assert "a row of" not in error["got"]
    assert tell(*words(name, "2"), "--force", "--reason", "it has to go")[0] == 0


def test_rows_that_production_was_trained_on(project, tell, name):
    """It is said when rows of the comparison were among those that production was trained on."""
    tell("promote", name, "1", "--to", "production")
    project.set({"split.seed": "99"})
    project.commit()
    project.run()
    done = tell(*words(name, "4"), "--force", "--reason", "for the note")[1]
    test = pl.read_parquet(project.root / "data/processed/test.parquet")
    (note,) = done["notes"]
    assert re.search(r"\b\d+ of", note)
    assert test.height == 60


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("--force",), 2, "--force takes a reason"),
        (("--force", "--reason", "  "), 2, "--force takes a reason"),
        (("--reason", "x" * 1001), 2, "the reason is too long"),
    ],
)
def test_a_reason_that_is_none(tell, name, *, arguments, code, what):
    """Force takes a reason, and a reason has an end."""
    found, error = tell(*words(name), *arguments)
    assert (found, error["what"]) == (code, what)


@pytest.mark.parametrize(
    ("version", "what"),
    [
        ("9", "there is no such version"),
        ("v_20200101_000000", "there is no such version in the local registry"),
        ("nonsense", "there is no such version"),
    ],
)
def test_a_version_that_is_not_there(tell, name, *, version, what):
    """A version that nobody registered is not found (exit 5), and neither is one of an unknown model."""
    code, error = tell(*words(name, version))
    assert (code, error["what"]) == (5, what)
    assert tell(*words("cars", "1"))[0] == 5
    assert tell("rollback", "cars")[0] == 5
    assert tell("history", "cars")[0] == 5


def test_from_production_to_staging(tell, name):
    """A version in production is not taken out of it by promoting it to staging."""
    tell("promote", name, "1", "--to", "production")
    code, error = tell("promote", name, "1", "--to", "staging")
    assert (code, error["what"]) == (2, "the version is in production")


def test_a_run_mends_what_was_cut_off(project, name):
    """Also one that finds everything done takes away what a killed promotion left."""
    intent = project.root / f"models/model_registry/{name}/intent"
    intent.parent.mkdir(exist_ok=True)
    intent.write_text("{}")
    project.run()
    assert not intent.exists()


def test_with_the_server_away(project, tell, *, name, free_port):
    """Promotion and rollback say so and change nothing (exit 7); history shows the project's copy."""
    tell("promote", name, "1", "--to", "production")
    before = project.registry
    project.set({"tracking.uri": f"http://127.0.0.1:{free_port}"})
    for command in (words(name, "2"), ("rollback", name)):
        code, error = tell(*command)
        assert (code, error["what"]) == (7, "the tracking server does not answer")
    assert project.registry == before
    code, history = tell("history", name)
    assert (code, history["source"], len(history["entries"])) == (0, "local", 1)


def test_a_ledger_that_was_changed(project, tell, name):
    """History names what was changed and exits with 1; promote takes force, and rollback refuses."""
    for number in ("1", "2"):
        tell("promote", name, number, "--to", "production")
    ledger = project.root / f"models/model_registry/{name}/ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("promote", "promotE", 1))
    code, history = tell("history", name)
    assert (code, history["faults"]) == (1, ["copy: entry 1 was changed: it is not what its hash says"])


def test_a_database_that_was_lost(project, tell, *, name, empty_store):
    """Nothing is touched until a run has registered the model anew; then the ledger goes on as it was."""
    for version in ("1", "2"):
        tell("promote", name, version, "--to", "production")
    copy = project.root / f"models/model_registry/{name}/ledger.jsonl"
    before = (project.registry, copy.read_bytes())
    shutil.copy(empty_store, project.config.path("logs/mlflow.db"))
    assert tell("rollback", name)[0] == 5
    assert (project.registry, copy.read_bytes()) == before
    project.run()
    code, done = tell("promote", name, "current", "--to", "production")
    assert (code, done["version"], done["number"]) == (0, "1", 3)
    history = tell("history", name)[1]
    assert ([entry["version"] for entry in history["entries"]], history["faults"]) == (["1", "2", "1"], [])
    assert [entry["stage"] for entry in project.registry] == ["Archived", "Archived", "Production"]


def test_without_mlflow(fresh, modelbook):
    """A project without MLflow has the same commands, and the ledger in the project alone."""
    fresh.set({"training.enable_mlflow": "false"})
    for settings in SETTINGS[:2]:
        fresh.set(settings)
        fresh.commit()
        fresh.run()
    name = fresh.config.tracking.model_name
    one, two = (entry["version"] for entry in fresh.registry)

    def tell(*arguments):
        return modelbook("-C", fresh.root, "--json", *arguments)

    assert tell("promote", name, one, "--to", "production").code == 0
    done = tell("promote", name, two, "--to", "production")
    assert done.code == 0, done.stderr
    assert orjson.loads(done.stdout)["checks"][-1]["name"] == "rmse_change"
    assert [entry["stage"] for entry in fresh.registry] == ["Archived", "Production"]
    assert tell("rollback", name).code == 0
    assert [entry["stage"] for entry in fresh.registry] == ["Production", "Archived"]
    history = orjson.loads(tell("history", name).stdout)
    assert (len(history["entries"]), history["source"], history["faults"]) == (3, "local", [])
    ledger = fresh.root / f"models/model_registry/{name}/ledger.jsonl"
    ledger.write_text("\n".join(ledger.read_text().splitlines()[:-1]) + "\n")
    cut = tell("history", name)
    assert (cut.code, orjson.loads(cut.stdout)["faults"]) == (1, ["entry 3 is missing: the end was cut off"])
    refused = tell("promote", name, two, "--to", "production")
    assert refused.code == 4
    assert "ledger: entry 3 is missing" in orjson.loads(refused.stdout)["error"]["got"]
    assert tell("rollback", name).code == 4


def test_what_people_read(project, modelbook, name):
    """The commands print what happened, in lines that a script can take apart."""
    promoted = modelbook("-C", project.root, "promote", name, "1", "--to", "production", "--reason", "first")
    assert promoted.stdout.splitlines()[-1].startswith(f"production {name}/1 (v_")
    shown = modelbook("-C", project.root, "history", name).stdout.splitlines()
    assert shown[0].split("\t")[:5] == ["#", "when", "who", "what", "version"]
    assert shown[1].split("\t")[-1] == "first"
    listed = modelbook("-C", project.root, "models").stdout
    assert "\tProduction\t" in listed


def test_one_version_in_full(tell, name):
    """A version in full says what it is worth, where it stands, what the gate asked and where it is from."""
    tell("promote", name, "2", "--to", "production")
    code, found = tell("models", f"{name}/2")
    assert (code, found["stage"], found["aliases"], found["gate"]) == (
        0,
        "Production",
        ["production"],
        "passed",
    )
    assert found["checks"][0]["name"] == "rmse_threshold"
    lineage = found["lineage"]
    assert lineage["code"]["commit"] == found["commit"]
    assert [entry["path"] for entry in lineage["data"]][1:] == [
        "data/processed/train.parquet",
        "data/processed/test.parquet",
    ]
    assert lineage["params"]["max_depth"] == "12"
    assert tell("models", f"{name}/9")[0] == 5


def test_a_version_of_another_clone_in_full(project, tell, name):
    """The gate's checks are read from the store where this project's journal does not have them."""
    shutil.rmtree(project.root / "logs/runs")
    code, found = tell("models", f"{name}/2")
    assert (code, found["checks"][0]["name"], found["checks"][0]["passed"]) == (0, "rmse_threshold", True)


def test_a_version_in_full_for_people(project, modelbook, name):
    """The same as lines of names and values; a check was kept or missed, in the words of the report."""
    shown = modelbook("-C", project.root, "models", f"{name}/1").stdout
    lines = dict(line.split("\t", 1) for line in shown.splitlines() if "\t" in line)
    assert lines["algorithm"] == "random_forest"
    assert lines["rmse_threshold"] == "kept"
    listed = modelbook("-C", project.root, "models").stdout.splitlines()
    assert listed[0].split("\t")[-4:] == ["age", "size", "commit", "run"]
    assert len(listed) == 4
