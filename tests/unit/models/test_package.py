"""What a model travels in: refused where it is not what was recorded or holds what is not trusted."""

import importlib.metadata
import os
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from modelbook.errors import ConfigError, ModelRefusedError, NotFoundError, StorageError
from modelbook.features.engineer import FeatureEngineer
from modelbook.files import file_hash
from modelbook.models.description import describe_inputs
from modelbook.models.digest import model_digest
from modelbook.models.estimators import CATALOGUE
from modelbook.models.integrity import CODE_FOLDER
from modelbook.models.package import MODEL_FILE, dump_skops, load_skops, pack, unpack
from modelbook.models.train import ModelTrainer

TASKS = ("regression", "classification")


@pytest.fixture
def packed(table, settings, tmp_path):
    """Return a function that fits and packs a model, and returns the trainer, the record and the folder."""

    def make(algorithm="linear", **options):
        config = settings(algorithm, **options)
        trainer = ModelTrainer(config)
        trainer.train(table, table[config.data.target])
        record = pack(
            trainer.model,
            tmp_path / "models",
            algorithm=algorithm,
            task=config.project.task,
            target=config.data.target,
            inputs=FeatureEngineer(config).inputs,
            code=trainer.code_files,
        )
        return trainer, record, tmp_path / "models"

    return make


@pytest.mark.parametrize("task", TASKS)
def test_what_is_recorded_of_a_model(packed, task):
    """Its classes, none for numbers, the hash of its file and the digest of its state."""
    trainer, record, folder = packed(task=task)
    assert record.digest == model_digest(trainer.model)
    assert record.classes == (("no", "yes") if task == "classification" else ())
    assert record.sha256 == file_hash(folder / MODEL_FILE)


def test_two_packings_have_one_digest_and_two_hashes(packed):
    """The digest is of the state, the hash of the file, whose bytes hold the time."""
    _, first, _ = packed()
    _, second, _ = packed()
    assert first.digest == second.digest


def test_a_packed_file_is_an_ordinary_zip(tmp_path):
    """Python's own zlib finds every checksum right, and is what zipfile uses before and after."""
    path = tmp_path / "model.skops"
    weights = np.arange(50_000.0)
    dump_skops(weights, path)
    assert zipfile.zlib is zlib
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert {entry.compress_type for entry in file.infolist()} == {zipfile.ZIP_DEFLATED}
    assert path.stat().st_size < weights.nbytes / 2
    with pytest.raises(StorageError):
        dump_skops(weights, path / "below a file")
    assert zipfile.zlib is zlib


def test_requirements_are_pinned_and_public(packed):
    """Requirements name what loading takes with exact versions; LightGBM for its models alone."""
    _, record, _ = packed("lightgbm")
    pins = dict(pin.split("==") for pin in record.requirements)
    assert pins["lightgbm"] == importlib.metadata.version("lightgbm")
    _, record, _ = packed("blend", hyperparameters={"members": [{"xgboost": {"n_estimators": 2}}]})
    pins = dict(pin.split("==") for pin in record.requirements)
    assert pins["xgboost-cpu"] == importlib.metadata.version("xgboost-cpu")
    assert "catboost" not in pins
    _, record, _ = packed("linear")
    names = [pin.split("==")[0] for pin in record.requirements]
    assert names == ["joblib", "mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops"]


@pytest.mark.parametrize("algorithm", CATALOGUE)
def test_a_changed_file_is_refused(packed, algorithm):
    """One changed byte of the model is refused before anything of it is read, with both hashes."""
    _, record, folder = packed(algorithm)
    path = folder / MODEL_FILE
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelRefusedError) as caught:
        unpack(folder, record)
    assert (caught.value.got, caught.value.exit_code) == (f"sha256 {file_hash(path)}", 8)
    assert caught.value.expected == f"sha256 {record.sha256}"


def test_changed_code_is_refused_and_not_executed(packed, tmp_path):
    """A changed code file beside the model is refused, and is not executed."""
    _, record, folder = packed()
    mark = tmp_path / "executed"
    path = folder / CODE_FOLDER / record.code[0].name
    path.write_text(f"open({str(mark)!r}, 'w')\n{path.read_text()}")
    with pytest.raises(ModelRefusedError, match="not the one that was recorded"):
        unpack(folder, record)
    assert not mark.exists()


@pytest.mark.parametrize("missing", [MODEL_FILE, CODE_FOLDER])
def test_a_missing_file_is_named(packed, missing):
    """A missing file is named, with the ways to get it back."""
    _, record, folder = packed()
    (folder / missing).rename(folder / "elsewhere")
    with pytest.raises(NotFoundError) as caught:
        unpack(folder, record)
    assert missing in caught.value.where
    assert "dvc checkout" in caught.value.hint


def test_a_type_that_is_not_trusted_is_refused(tmp_path):
    """A file that holds a function of the system is refused, though its hash is right."""
    path = tmp_path / "model.skops"
    dump_skops(FunctionTransformer(os.system), path)
    with pytest.raises(ModelRefusedError) as caught:
        load_skops(path, sha256=file_hash(path))
    assert "system" in caught.value.got


@pytest.mark.parametrize("algorithm", ["xgboost", "catboost", "mlp", "blend"])
def test_a_foreign_type_inside_a_model_is_refused(packed, algorithm):
    """A function of the system among an estimator's state is refused, though the hash is right."""
    trainer, _, folder = packed(algorithm)
    trainer.model[-1].seen_ = FunctionTransformer(os.system)
    dump_skops(trainer.model, folder / MODEL_FILE)
    with pytest.raises(ModelRefusedError, match="not trusted") as caught:
        load_skops(folder / MODEL_FILE, sha256=file_hash(folder / MODEL_FILE), code=trainer.code_files)
    assert "system" in caught.value.got


@pytest.mark.parametrize("algorithm", ["xgboost", "catboost"])
@pytest.mark.parametrize("damage", ["cut off", "garbage", "empty"])
def test_trees_that_are_none(packed, algorithm, damage):
    """Bytes that the library cannot read as its own trees are refused, though the hash is right."""
    trainer, _, folder = packed(algorithm)
    trees = trainer.model[-1].trees_
    damaged = {"cut off": trees[:200], "garbage": np.arange(256, dtype=np.uint8), "empty": trees[:0]}
    trainer.model[-1].trees_ = damaged[damage]
    dump_skops(trainer.model, folder / MODEL_FILE)
    with pytest.raises(ModelRefusedError, match="not what it says"):
        load_skops(folder / MODEL_FILE, sha256=file_hash(folder / MODEL_FILE), code=trainer.code_files)


def test_what_a_file_asks_to_be_trusted_with_is_not_heard(tmp_path):
    """The file's own list of types is not what is trusted."""
    path = tmp_path / "model.skops"
    dump_skops(FunctionTransformer(os.getcwd), path)
    assert skops.io.get_untrusted_types(file=path)
    with pytest.raises(ModelRefusedError, match="not trusted"):
        load_skops(path, sha256=file_hash(path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x04\x95 a pickle"])
def test_what_is_no_model_is_refused(tmp_path, content):
    """A file that is no skops file is refused, whatever else it is."""
    path = tmp_path / "model.skops"
    path.write_bytes(content)
    with pytest.raises(ModelRefusedError, match="not what it says"):
        load_skops(path, sha256=file_hash(path))


def test_a_zip_of_something_else_is_refused(tmp_path):
    """A zip file without a schema is refused."""
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ModelRefusedError, match="not what it says"):
        load_skops(path, sha256=file_hash(path))


def test_code_that_imports_what_is_not_installed(packed, tmp_path):
    """A file of the user's that imports another file of the project is refused when the model is packed."""
    code = tmp_path / "features.py"
    code.write_text("def later():\n    import neighbour\n")
    trainer, _, _ = packed()
    with pytest.raises(ConfigError) as caught:
        pack(
            trainer.model,
            tmp_path / "other",
            algorithm="linear",
            task="regression",
            target="price",
            inputs=(),
            code=(*trainer.code_files, code),
        )
    assert caught.value.mistakes == ("import neighbour",)


def test_code_that_imports_an_installed_package_requires_it(packed, tmp_path):
    """A package that the user's code imports becomes a requirement, under its distribution's name."""
    code = tmp_path / "features.py"
    code.write_text("import ruamel.yaml\nfrom PIL import Image\n")
    trainer, _, _ = packed()
    record = pack(
        trainer.model,
        tmp_path / "other",
        algorithm="linear",
        task="regression",
        target="price",
        inputs=(),
        code=(*trainer.code_files, code),
    )
    names = {pin.split("==")[0] for pin in record.requirements}
    assert {"pillow"} <= names
    assert [name for name in names if name.startswith("ruamel")]


def test_inputs_of_a_model_of_the_users_own(settings):
    """Columns of a bare estimator are described by the schema, or as numbers that may be missing."""
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    model = Pipeline([("estimator", Ridge())]).fit(table, [1.0, 2.0])
    config = settings(
        data={"target": "price", "schema": {"b": {"type": "integer", "nullable": False}}}, features={}
    )
    inputs = describe_inputs(model, config)
    assert [(column.name, column.type, column.nullable) for column in inputs] == [
        ("a", "float", True),
        ("b", "integer", False),
    ]
