"""The local registry: each version kept whole, under a name of its own, in one file that is always whole."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zipfile import ZipFile

import numpy as np
import orjson
import pytest

from modelbook.config import load_config
from modelbook.errors import GateRejectedError, ModelbookError, NotFoundError
from modelbook.files import file_hash, write_whole
from modelbook.records import EvaluationReport
from modelbook.registry.loading import load_model
from modelbook.registry.registry import ModelRegistry

MOMENT = datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC)
METADATA = {"algorithm": "my_forest", "run_id": "abc", "trees": np.int64(3), "seen": {"rows": 12}}
REPORT = {
    "metrics": {"rmse": np.float64(2.5)},
    "threshold_checks": {"rmse_threshold": True},
    "all_checks_passed": True,
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_config({"tracking": {"model_name": "prices"}})


@pytest.fixture
def registry(config):
    return ModelRegistry(config, clock=lambda: MOMENT)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "my_model.joblib"
    path.write_bytes(b"a fitted model")
    return path


def test_registering_with_plain_dictionaries(registry, model, tmp_path):
    """A file, a dictionary about it and an evaluation make a version; the file is kept with its hash."""
    version = registry.register_model(model, METADATA, REPORT)
    assert version == "v_20261121_090507"
    (entry,) = registry.versions("prices")
    assert (entry.version, entry.run_id, entry.gate, entry.stage) == (version, "abc", "passed", "None")
    assert entry.metrics == {"rmse": 2.5}
    assert entry.metadata == {"algorithm": "my_forest", "run_id": "abc", "trees": 3, "seen": {"rows": 12}}
    assert entry.sha256 == file_hash(model)
    assert (tmp_path / entry.file).read_bytes() == b"a fitted model"


def test_a_second_one_within_a_second(registry, model):
    """Versions are unique: within one second they get _2, _3 and so on."""
    versions = [registry.register_model(str(model), METADATA, REPORT) for _ in range(3)]
    assert versions == ["v_20261121_090507", "v_20261121_090507_2", "v_20261121_090507_3"]
    assert [entry.version for entry in registry.versions()] == versions


def test_a_number_of_a_lost_store_is_given_up(registry, model):
    """Where MLflow gives a number again, as after its database was lost, the older entry loses it."""
    first = registry.register_model(model, METADATA, REPORT, mlflow_version="1")
    second = registry.register_model(model, METADATA, REPORT, mlflow_version="1")
    numbers = {entry.version: entry.mlflow_version for entry in registry.versions("prices")}
    assert numbers == {first: None, second: "1"}


def test_a_file_that_is_written_over_later(registry, model, tmp_path):
    """The registered file is a copy of its own: writing over the original does not change it."""
    registry.register_model(model, METADATA, REPORT)
    with model.open("r+b") as file:
        file.write(b"ANOTHER")
    (entry,) = registry.versions()
    assert file_hash(tmp_path / entry.file) == entry.sha256


def test_a_model_that_was_not_judged(registry, model):
    """Without a judgement the gate is none."""
    registry.register_model(model, METADATA, {"metrics": {}})
    assert registry.versions()[0].gate == "none"


def test_a_rejected_model_is_not_registered(registry, model):
    """A model whose checks were not all passed is refused, and nothing is written."""
    with pytest.raises(GateRejectedError) as caught:
        registry.register_model(model, METADATA, REPORT | {"all_checks_passed": False})
    assert caught.value.exit_code == 4
    assert registry.versions() == ()
    assert not registry.path.exists()


def test_a_missing_file(registry, tmp_path):
    """A model file that is not there is named."""
    with pytest.raises(NotFoundError) as caught:
        registry.register_model(tmp_path / "none.joblib", METADATA, REPORT)
    assert caught.value.where.endswith("none.joblib")


def test_finding_a_version(registry, model):
    """A version is found by its own name and by MLflow's number; another is said not to be there."""
    registry.register_model(model, METADATA, REPORT, mlflow_version="7")
    assert registry.find("prices", "v_20261121_090507") == registry.find("prices", "7")
    with pytest.raises(NotFoundError) as caught:
        registry.find("prices", "8")
    assert "v_20261121_090507" in caught.value.expected
    with pytest.raises(NotFoundError):
        registry.find("other", "7")


def test_a_run_is_kept_once(finished_project, tmp_path):
    """A run's model is one version, however often it is registered; MLflow's number is noted in it."""
    project = finished_project.copy(tmp_path / "houses")
    registry = ModelRegistry(project.config)
    registry.path.unlink()
    evaluation = EvaluationReport.read(project.root / "logs/evaluation_report.json")
    model = project.root / "models/model.skops"
    first = registry.register_model(model, project.metadata, evaluation)
    assert registry.versions()[0].mlflow_version is None
    second = registry.register_model(model, project.metadata, evaluation, mlflow_version="4")
    assert first == second
    (entry,) = registry.versions()
    assert entry.mlflow_version == "4"
    assert registry.of_digest("houses", project.metadata.model.digest) == entry
    assert registry.of_digest("houses", "0" * 64) is None


def test_a_model_made_again_after_its_file_was_removed(finished_project, tmp_path):
    """The entry says what the file is now: a model of the same digest may have other bytes."""
    project = finished_project.copy(tmp_path / "houses")
    registry = ModelRegistry(project.config)
    (entry,) = registry.versions()
    registry.remove_files(entry.name, [entry.version], moment=MOMENT)
    path = project.root / "models/model.skops"
    write_whole(path, path.read_bytes())  # it may share its bytes with other files
    with ZipFile(path, "a") as package:
        package.comment = b"made again"
    record = project.metadata.model.model_copy(update={"sha256": file_hash(path)})
    metadata = project.metadata.model_copy(update={"model": record})
    evaluation = EvaluationReport.read(project.root / "logs/evaluation_report.json")
    assert registry.register_model(path, metadata, evaluation) == entry.version
    (again,) = registry.versions()
    assert again.removed_at is None
    assert (again.sha256, again.size_bytes) == (file_hash(path), path.stat().st_size)
    assert again.sha256 != entry.sha256
    assert again.model == record
    assert load_model(f"{entry.name}/{entry.version}", config=project.config)


def test_versions_of_several_models(config, model):
    """Models of several names live in one registry, the oldest version first."""
    moments = iter(MOMENT + timedelta(hours=hour) for hour in range(3))
    for name in ("prices", "rents", "prices"):
        settings = load_config({"tracking": {"model_name": name}})
        ModelRegistry(settings, clock=lambda: next(moments)).register_model(model, METADATA, REPORT)
    registry = ModelRegistry(config)
    assert [entry.name for entry in registry.versions()] == ["prices", "rents", "prices"]
    assert len(registry.versions("prices")) == 2


def test_the_file_says_its_schema(registry, model):
    """registry.json names the version of its schema."""
    registry.register_model(model, METADATA, REPORT)
    content = orjson.loads(registry.path.read_bytes())
    assert content["schema_version"] == 2
    assert list(content) == ["schema_version", "versions", "ledger_heads"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"versions": [{}]}', b'{"schema_version": 1, "other": 1}', b"\xff\xfe"]
)
def test_a_damaged_registry_is_said_and_left_alone(registry, model, content):
    """A file that cannot be read is named, nothing is registered, and it is not written over."""
    registry.path.parent.mkdir(parents=True)
    registry.path.write_bytes(content)
    with pytest.raises(ModelbookError) as caught:
        registry.register_model(model, METADATA, REPORT)
    assert caught.value.where == str(registry.path)
    assert registry.path.read_bytes() == content


def test_a_registry_of_a_newer_version_is_refused(registry):
    """A registry that a newer Modelbook wrote is refused with the advice to update."""
    registry.path.parent.mkdir(parents=True)
    registry.path.write_bytes(b'{"schema_version": 99, "versions": []}')
    with pytest.raises(ModelbookError, match="newer Modelbook"):
        registry.versions()


REGISTER = """
import sys
from modelbook.registry.registry import ModelRegistry

registry = ModelRegistry({"tracking": {"model_name": "prices"}})
for _ in range(10):
    registry.register_model(sys.argv[1], {}, {"all_checks_passed": True})
"""


def test_several_processes_at_once(registry, model, tmp_path):
    """Eight processes that register at once lose nothing and give each version a name of its own."""
    command = [sys.executable, "-c", REGISTER, str(model)]
    processes = [subprocess.Popen(command, cwd=tmp_path) for _ in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    versions = [entry.version for entry in registry.versions()]
    assert len(versions) == len(set(versions)) == 80
