"""Room made in a project: what goes, what stays and why, and that nothing is ever half removed."""

import shutil

import orjson
import pytest

from modelbook.files import REMOVED
from modelbook.logs import now
from modelbook.pipeline.lifecycle.clearing import clear
from modelbook.pipeline.lock import hold_project
from modelbook.registry.loading import load_model
from modelbook.registry.reference import Reference
from modelbook.registry.registry import ModelRegistry
from modelbook.registry.shelf import Remembered, Shelf


@pytest.fixture(scope="module")
def grown(new_project, tmp_path_factory):
    """A project with four versions and a rejected run, whose model lies in it."""
    project = new_project.copy(tmp_path_factory.mktemp("grown") / "houses")
    for seed in (1, 2, 3, 4):
        project.set({"training.seed": str(seed)})
        project.commit()
        project.run()
    project.set({"training.seed": "5", "evaluation.thresholds.rmse.max": "1"})
    project.commit()
    assert not project.run().gate.passed
    return project


@pytest.fixture
def project(grown, tmp_path):
    return grown.copy(tmp_path / "houses")


@pytest.fixture
def tell(project, modelbook):
    """Return a function that runs a command on the project and returns its code and its document."""

    def run(*words):
        done = modelbook("-C", project.root, "--json", *words)
        content = orjson.loads(done.stdout)
        return (done.code, content["error"]) if "error" in content else (done.code, content)

    return run


def files(root):
    found = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(str(path.relative_to(root)) for path in found)


def test_what_goes_and_what_stays(project, tell):
    """Versions with an alias, the one a rollback needs and the newest stay; the others' copies go."""
    name = project.config.tracking.model_name
    for number in ("1", "2"):
        tell("promote", name, number, "--to", "production", "--force", "--reason", "for the test")
    code, done = tell("gc", "--keep", "1")
    locals_ = [entry["version"] for entry in project.registry]
    assert code == 0
    assert done["kept"] == {
        f"{name}/{locals_[0]}": "a rollback would bring it back",
        f"{name}/{locals_[1]}": "it is in production",
        f"{name}/{locals_[3]}": "one of the newest 1",
    }
    versions = [one["name"] for one in done["removed"] if one["kind"] == "version"]
    assert versions == [f"{name}/{locals_[2]}"]
    assert [bool(entry["removed_at"]) for entry in project.registry] == [False, False, True, False]
    folder = project.root / f"models/model_registry/{name}"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [
        locals_[0],
        locals_[1],
        locals_[3],
    ]
    exports = [one for one in done["removed"] if one["kind"] == "export"]
    assert len(exports) == 4
    assert len(list((project.root / "models/saved_models").glob("model_*.joblib"))) == 1


def test_fewer_than_are_kept(project, tell):
    """Where there are fewer exports than are kept, none goes."""
    exports = project.root / "models/saved_models"
    before = sorted(path.name for path in exports.glob("model_*.joblib"))
    assert len(before) < 7
    assert [one for one in tell("gc", "--keep", "7")[1]["removed"] if one["kind"] == "export"] == []
    assert sorted(path.name for path in exports.glob("model_*.joblib")) == before


def test_a_removed_copy_is_read_from_mlflow(project, tell):
    """A version whose copy is gone is loaded, promoted and rolled back to out of MLflow."""
    name = project.config.tracking.model_name
    tell("gc", "--keep", "0")
    removed = [entry["version"] for entry in project.registry if entry["removed_at"]]
    assert len(removed) == 4
    assert load_model(f"{name}/{removed[0]}", config=project.config)
    assert tell("promote", name, removed[0], "--to", "production")[0] == 0
    assert tell("models", name)[0] == 0


def test_a_dry_run(project, tell):
    """A dry run says the same and removes nothing."""
    before = files(project.root / "models")
    planned = tell("gc", "--keep", "0", "--dry-run")[1]
    assert planned["is_dry"]
    assert files(project.root / "models") == before
    done = tell("gc", "--keep", "0")[1]
    assert [one["name"] for one in done["removed"]] == [one["name"] for one in planned["removed"]]
    assert tell("gc", "--keep", "0")[1]["removed"] == []


def test_a_rejected_model_goes_once_another_lies_in_the_project(project, tell):
    """What MLflow keeps of a rejected model goes, but not while it is the one in the project."""
    assert not [one for one in tell("gc")[1]["removed"] if one["kind"] == "rejected"]
    stored = len(list((project.root / "logs/mlruns").rglob("model.skops")))
    project.set({"training.seed": "4", "evaluation.thresholds.rmse.max": "1000000"})
    project.run()
    (gone,) = [one for one in tell("gc")[1]["removed"] if one["kind"] == "rejected"]
    assert gone["name"].startswith("random_forest_")
    assert len(list((project.root / "logs/mlruns").rglob("model.skops"))) == stored - 1
    project.set({"training.seed": "5"})
    outcome = project.run()
    assert outcome.gate.passed, "the threshold was lowered"
    assert outcome.model.version == "5"
    assert load_model(f"models:/{project.config.tracking.model_name}/5", config=project.config)


def test_a_version_that_is_made_again_is_kept_again(project, tell):
    """A version whose copy was removed has one again once its model was made again."""
    tell("gc", "--keep", "0")
    project.set({"training.seed": "2", "evaluation.thresholds.rmse.max": "1000000"})
    project.run()
    entry = ModelRegistry(project.config).versions()[1]
    assert entry.removed_at is None
    assert (project.root / entry.file).is_file()


def test_a_copy_that_is_the_only_one(project, tell):
    """A version that MLflow does not have stays, whatever was asked for."""
    name = project.config.tracking.model_name
    project.client.delete_model_version(name, "1")
    local = project.registry[0]["version"]
    kept = tell("gc", "--keep", "0")[1]["kept"]
    assert kept == {f"{name}/{local}": "MLflow does not have it: this is the only copy"}


def test_an_alias_of_somebody_else(project, tell):
    """Any alias counts, not only production and staging."""
    name = project.config.tracking.model_name
    project.client.set_registered_model_alias(name, "shadow", "2")
    local = project.registry[1]["version"]
    assert tell("gc", "--keep", "0")[1]["kept"] == {f"{name}/{local}": "MLflow calls it shadow"}


@pytest.mark.parametrize("place", ["rename", "rmtree"])
def test_killed_on_the_way(project, monkeypatch, place):
    """A removal that was cut off is finished by the next, and no version is ever half there."""

    class Killed(BaseException):
        pass

    def dying(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        owner = shutil if place == "rmtree" else type(project.root)
        patched.setattr(owner, place, dying)
        with pytest.raises(Killed):
            clear(project.root, keep=1)
    for entry in ModelRegistry(project.config).versions():
        assert load_model(f"{entry.name}/{entry.version}", config=project.config)
    clear(project.root, keep=1)
    assert not list(project.root.rglob(f"{REMOVED}*"))
    name = project.config.tracking.model_name
    left = [entry.version for entry in ModelRegistry(project.config).versions() if not entry.removed_at]
    folders = (project.root / f"models/model_registry/{name}").iterdir()
    assert sorted(path.name for path in folders if path.is_dir()) == left


def test_a_run_holds_the_project(project, tell):
    """Nothing is removed under a run's feet (exit 9)."""
    with hold_project(project.config, command="modelbook run"):
        assert tell("gc")[0] == 9


def test_with_the_server_away(project, tell, free_port):
    """Where nobody knows what aliases name, nothing is removed (exit 7)."""
    before = files(project.root / "models")
    project.set({"tracking.uri": f"http://127.0.0.1:{free_port}"})
    assert tell("gc", "--keep", "0")[0] == 7
    assert files(project.root / "models") == before


def test_what_is_served_no_more(project, tell):
    """What a server made of versions goes, but for the one that answers to a reference; so does a torso."""
    shelf, digests = Shelf(project.config), ["d1" * 32, "d2" * 32]
    for digest in (*digests, ".0123456789abcdef.part"):
        shelf.bundle(digest).mkdir(parents=True)
        (shelf.bundle(digest) / "bundle.json").write_bytes(b"1234")
    words = {"name": "houses", "version": "2", "alias": None, "server": "a1", "moment": now()}
    shelf.remember(Reference("houses", None, "production"), Remembered(digest=digests[1], **words))
    gone = [one for one in tell("gc")[1]["removed"] if one["kind"] == "bundle"]
    assert [(one["name"], one["size_bytes"]) for one in gone] == [("d1" * 6, 4), (".0123456789a", 4)]
    assert [path.name for path in shelf.folder.glob("bundles/*")] == [digests[1]]
