"""Models found by their names, and refused where they are not what was recorded."""

import os
import pickle
import sys
from pathlib import Path

import joblib
import numpy as np
import orjson
import polars as pl
import pytest

from modelbook.errors import ModelRefusedError, NotFoundError, TrackingStoreError, UsageError
from modelbook.registry.loading import find_model, load_model, open_model


@pytest.fixture
def local(project) -> Path:
    """Return the folder of the version in the local registry, its files no longer shared with others."""
    entry = project.registry[0]
    return own_files((project.root / entry["file"]).parent)


@pytest.fixture
def stored(project) -> Path:
    """Return the folder of the model in MLflow's artifact store, its files no longer shared with others."""
    return own_files(next(project.root.glob("logs/mlruns/*/models/m-*/artifacts")))


def own_files(folder: Path) -> Path:
    """Copy each file in place, so that writing to it changes no other place that it was linked to."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    return folder


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def plant(path: Path) -> Path:
    """Put a line before a code file that leaves a mark when it is executed, and return where."""
    mark = path.with_suffix(".executed")
    path.write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n{path.read_text()}")
    return mark


def raw_rows(project) -> pl.DataFrame:
    return pl.read_parquet(project.root / "data/processed/test.parquet")


REFERENCES = ["{name}", "{name}/1", "{name}/{local}", "models:/{name}", "models:/{name}/1"]
REFERENCES += ["models:/{name}/latest", "runs:/{run}", "runs:/{run}/model", "models:/{model_id}"]


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_kind_of_reference(project, reference: str):
    """Each way of naming a version brings the same model, which predicts as it did in training."""
    run = project.recorded[-1]
    words = reference.format(
        name=project.config.tracking.model_name,
        local=project.registry[0]["version"],
        run=run.info.run_id,
        model_id=run.outputs.model_outputs[0].model_id,
    )
    pipeline, record = find_model(words, config=project.root)
    assert record == project.metadata.model
    predicted = pipeline.predict(raw_rows(project).to_pandas())
    np.testing.assert_array_equal(predicted, project.predictions["predicted"].to_numpy())


def test_which_version(project):
    """What is opened says the version that it turned out to be, as its own registry calls it."""
    name, local = project.config.tracking.model_name, project.registry[0]["version"]
    for reference, version in {name: local, f"{name}/1": local, f"models:/{name}": "1"}.items():
        found = open_model(reference, config=project.root)
        assert (found.name, found.version) == (name, version)


def test_local_models_need_no_mlflow(project):
    """A version that the local registry has is loaded without importing MLflow, by its alias too."""
    name = project.config.tracking.model_name
    project.client.set_registered_model_alias(name, "production", "1")
    words = (
        "import sys; from modelbook import load_model; "
        f"[load_model(ref, config='.') for ref in ({name!r}, '{name}/1', '{name}@production')]; "
        "sys.exit('mlflow' in sys.modules)"
    )
    assert project.call(sys.executable, "-c", words).returncode == 0


def second_version(project) -> str:
    """Register the model's files a second time, as another clone would that made other ones."""
    version = project.client.get_model_version(project.config.tracking.model_name, "1")
    tags = dict(version.tags)
    return str(
        project.client.create_model_version(
            version.name, source=version.source, run_id=version.run_id, tags=tags
        ).version
    )


def test_production_is_what_mlflow_says(project):
    """A bare name and an alias mean what MLflow has in production, though another clone put it there."""
    name = project.config.tracking.model_name
    number = second_version(project)
    assert open_model(name, config=project.root).version == project.registry[0]["version"]
    project.client.set_registered_model_alias(name, "production", number)
    for reference in (name, f"{name}@production", f"models:/{name}"):
        assert open_model(reference, config=project.root).version == number


def test_another_alias(project):
    """An alias that Modelbook does not keep itself is looked up in MLflow."""
    name = project.config.tracking.model_name
    project.client.set_registered_model_alias(name, "champion", "1")
    assert open_model(f"{name}@champion", config=project.root).version == "1"


def test_production_without_mlflow(project):
    """With MLflow off, stages are those of the local registry."""
    project.set({"training.enable_mlflow": "false"})
    name = project.config.tracking.model_name
    with pytest.raises(NotFoundError):
        load_model(f"{name}@production", config=project.root)
    path = project.root / "models/model_registry/registry.json"
    content = orjson.loads(path.read_bytes())
    content["versions"][0]["stage"] = "Production"
    path.write_bytes(orjson.dumps(content))
    assert open_model(f"{name}@production", config=project.root).version == content["versions"][0]["version"]


@pytest.mark.parametrize(
    "reference",
    [
        "unknown",
        "{name}/99",
        "{name}/v_20200101_000000",
        "{name}@staging",
        "{name}@none",
        "models:/unknown",
        "models:/unknown/1",
        "models:/{name}/99",
        "models:/{name}/v_20200101_000000",
        "models:/{name}@nobody",
        "models:/it's",
        "models:/m-00000000000000000000000000000000",
        "runs:/00000000000000000000000000000000",
        "runs:/",
    ],
)
def test_not_found(project, reference: str):
    """A model that nobody has is not found, with exit code 5 and what lists those that there are."""
    with pytest.raises(NotFoundError) as raised:
        load_model(reference.format(name=project.config.tracking.model_name), config=project.root)
    assert raised.value.exit_code == 5
    assert "modelbook models" in str(raised.value) or "modelbook runs" in str(raised.value)


@pytest.mark.parametrize(
    "reference", ["", "a/b/c", "models/model.skops/x", "a@b@c", "models:/", "models:/a/b/c"]
)
def test_no_reference(project, reference: str):
    """What names no model in any way is a mistake in the call, and what is expected is said."""
    with pytest.raises(UsageError, match="NAME/VERSION") as raised:
        load_model(reference, config=project.root)
    assert raised.value.exit_code == 2


def test_looking_makes_no_store(fresh):
    """Looking for a model where nothing was recorded leaves no database behind."""
    (fresh.root / "logs/mlflow.db").unlink()
    with pytest.raises(NotFoundError):
        load_model("unknown", config=fresh.root)
    assert not (fresh.root / "logs/mlflow.db").exists()


def test_store_away(project, caplog):
    """With the server away the local registry answers for an alias, and a warning says so."""
    project.set({"tracking.uri": "http://127.0.0.1:9"})
    name = project.config.tracking.model_name
    assert open_model(name, config=project.root).version == project.registry[0]["version"]
    assert "from the local registry" in caplog.text
    with pytest.raises(TrackingStoreError) as raised:
        load_model(f"models:/{name}/1", config=project.root)
    assert raised.value.exit_code == 7


class TestRefused:
    """A file that is not the recorded one is refused with exit code 8 before anything in it is executed."""

    @pytest.fixture(params=["{name}/{local}", "models:/{name}/1", "runs:/{run}"])
    def changed(self, request, project):
        """Return the folder of a stored model, and a function that tries to load it and returns the error."""
        reference = request.param.format(
            name=project.config.tracking.model_name,
            local=project.registry[0]["version"],
            run=project.metadata.run_id,
        )
        kind = "stored" if ":/" in reference else "local"

        def refused(error=ModelRefusedError):
            with pytest.raises(error) as raised:
                load_model(reference, config=project.root)
            return raised.value

        return request.getfixturevalue(kind), refused

    def test_flipped_bit(self, changed):
        """One bit of the model's file is enough."""
        folder, refused = changed
        flip(folder / "model.skops")
        error = refused()
        assert error.exit_code == 8
        assert "sha256" in error.got

    def test_truncated(self, changed):
        """A model that was cut off is not the recorded one."""
        folder, refused = changed
        path = folder / "model.skops"
        path.write_bytes(path.read_bytes()[:-100])
        assert "sha256" in refused().got

    def test_pickle(self, changed):
        """A pickle in the model's place is not read."""
        folder, refused = changed
        mark = folder / "unpickled"
        (folder / "model.skops").write_bytes(pickle.dumps(_Bomb(mark)))
        assert refused().exit_code == 8
        assert not mark.exists()

    def test_code(self, changed):
        """Code that was changed is not executed, though it keeps its name."""
        folder, refused = changed
        marks = [plant(path) for path in sorted((folder / "code").glob("*.py"))]
        assert len(marks) > 1
        assert refused().exit_code == 8
        assert not any(mark.exists() for mark in marks)

    @pytest.mark.parametrize("name", ["sklearn.py", "extra.py", "extra/__init__.py", "extra.so"])
    def test_code_beside(self, changed, name: str):
        """Code that the record does not list is refused, and not executed."""
        folder, refused = changed
        mark, path = folder / "executed", folder / "code" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"open({str(mark)!r}, 'w')")
        error = refused()
        assert error.exit_code == 8
        assert name.partition("/")[0] in error.got
        assert not mark.exists()

    def test_bytecode_beside(self, changed, project):
        """Bytecode that plain MLflow leaves beside the code is in no one's way, and not executed."""
        folder, _ = changed
        (folder / "code/__pycache__").mkdir()
        (folder / "code/__pycache__/extra.pyc").write_bytes(b"no bytecode")
        for reference in ("{name}", "models:/{name}/1"):
            load_model(reference.format(name=project.config.tracking.model_name), config=project.root)

    @pytest.mark.parametrize("name", ["model.skops", "code"])
    def test_missing(self, changed, name: str):
        """A file that is gone is not found, which is another thing than changed."""
        folder, refused = changed
        path = folder / name
        if path.is_dir():
            next(path.glob("*.py")).unlink()
        else:
            path.unlink()
        assert refused(NotFoundError).exit_code == 5


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mknod, (str(self.mark),)


class TestRefusedByMlflow:
    """What MLflow's artifact store holds is trusted as far as the tags of the run vouch for it."""

    @pytest.fixture
    def load(self, project):
        """Return a function that loads the model from MLflow."""
        return lambda: load_model(f"models:/{project.config.tracking.model_name}/1", config=project.root)

    @pytest.mark.parametrize(
        "content",
        [
            "flavors: {python_function: {loader_module: evil}}",
            "flavors: {}",
            "- a list",
            "{",
            "",
            "\xff",
            "!!python/object/apply:os.system ['true']",
        ],
    )
    def test_foreign_loader(self, stored, load, content: str):
        """An MLmodel that names another loader, or none, is somebody else's."""
        (stored / "MLmodel").write_bytes(content.encode("latin-1"))
        with pytest.raises(ModelRefusedError, match="loader") as raised:
            load()
        assert raised.value.exit_code == 8

    @pytest.mark.parametrize("name", ["operator.call", "os.system", "builtins.eval", "features_0.Evil"])
    def test_types_outside_the_list(self, stored, load, name: str):
        """An MLmodel that asks for trust in a type that is on no list of ours is refused."""
        path = stored / "MLmodel"
        text = path.read_text()
        assert "skops_trusted_types:\n" in text
        path.write_text(text.replace("skops_trusted_types:\n", f"skops_trusted_types:\n    - {name}\n"))
        with pytest.raises(ModelRefusedError, match="does not trust") as raised:
            load()
        assert raised.value.exit_code == 8
        assert raised.value.got == name

    def test_no_mlmodel(self, stored, load):
        """Without its MLmodel a folder is no model of MLflow's."""
        (stored / "MLmodel").unlink()
        with pytest.raises(ModelRefusedError, match="loader"):
            load()

    @pytest.mark.parametrize("name", ["sha256", "digest", "code", "target", "inputs"])
    def test_forged_record(self, stored, load, name: str):
        """A record that is not the one of the run's tags is not believed, its code not executed."""
        path = stored / "modelbook.json"
        record = orjson.loads(path.read_bytes())
        if name == "code":
            code = stored / "code" / record["code"][0]["name"]
            mark = plant(code)
            record["code"][0]["sha256"] = _sha256(code)
        elif name == "inputs":
            record["inputs"].reverse()
        else:
            record[name] = "0" * 64
        path.write_bytes(orjson.dumps(record))
        with pytest.raises(ModelRefusedError, match="not the one that its run names"):
            load()
        assert name != "code" or not mark.exists()

    @pytest.mark.parametrize("content", [None, b"{}", b"{", b'{"algorithm": 1}'])
    def test_damaged_record(self, stored, load, content: bytes | None):
        """A model without a record that can be read was not made here."""
        path = stored / "modelbook.json"
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(ModelRefusedError, match="not recorded by Modelbook"):
            load()

    def test_files_gone(self, stored, load):
        """A version whose files were deleted is not found."""
        for path in sorted(stored.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        stored.rmdir()
        with pytest.raises(NotFoundError, match="files are not where MLflow has them") as raised:
            load()
        assert raised.value.exit_code == 5

    def test_no_run(self, project, stored):
        """A version that came from no run has nothing that vouches for its code."""
        name = project.config.tracking.model_name
        tags = project.client.get_model_version(name, "1").tags
        number = project.client.create_model_version(name, source=stored.as_uri(), tags=tags).version
        with pytest.raises(ModelRefusedError, match="not the one that its run names"):
            load_model(f"{name}/{number}", config=project.root)

    def test_run_without_model(self, project):
        """A run that recorded no model of ours has none to load."""
        run = project.client.create_run(project.recorded[0].info.experiment_id)
        with pytest.raises(NotFoundError, match="holds no model"):
            load_model(f"runs:/{run.info.run_id}", config=project.root)


def _sha256(path: Path) -> str:
    from modelbook.files import file_hash

    return file_hash(path)


class TestJoblib:
    """A .joblib file is a pickle: it is read only by who says that it may be."""

    def test_refused(self, project):
        """By itself it is refused."""
        path = next((project.root / "models/saved_models").glob("model_*.joblib"))
        with pytest.raises(ModelRefusedError, match="pickle") as raised:
            load_model(path, config=project.root)
        assert raised.value.exit_code == 8

    def test_allowed(self, tmp_path: Path):
        """With allow_pickle it is read, and there is no record of it."""
        joblib.dump({"a": 1}, tmp_path / "own.joblib")
        assert find_model(tmp_path / "own.joblib", allow_pickle=True) == ({"a": 1}, None)

    def test_missing(self, tmp_path: Path):
        """One that is not there is not found."""
        with pytest.raises(NotFoundError):
            load_model(tmp_path / "none.joblib", allow_pickle=True)


def test_registered_by_hand(project):
    """A file of another kind that was registered is kept, and not loaded as one of ours."""
    from modelbook.registry.registry import ModelRegistry

    path = next((project.root / "models/saved_models").glob("model_*.joblib"))
    metadata = project.metadata.model_copy(
        update={"model": project.metadata.model.model_copy(update={"digest": "0" * 64})}
    )
    version = ModelRegistry(project.root).register_model(path, metadata, {"metrics": {}})
    with pytest.raises(ModelRefusedError, match="not packed by Modelbook"):
        load_model(f"{project.config.tracking.model_name}/{version}", config=project.root)
