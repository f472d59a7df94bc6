"""What can be said against a run before anything runs."""

import pytest

from modelbook.config import load_config
from modelbook.errors import ConfigError, ModelbookError, NotFoundError, UsageError
from modelbook.pipeline.check import check_dvc_files, check_project


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "features.py").write_text(
        "from sklearn.base import BaseEstimator\n"
        "class Median(BaseEstimator):\n    def fit(self, X, y): ...\n    def predict(self, X): ...\n"
    )

    def make(algorithm="linear", hyperparameters=None):
        return load_config({"model": {"algorithm": algorithm, "hyperparameters": hyperparameters or {}}})

    return make


def test_an_unknown_algorithm_is_named_with_those_there_are(project):
    """The catalogue and the user's own classes are offered, exit 2."""
    with pytest.raises(ConfigError, match="lightgbm") as raised:
        check_project(project("random_florest"), use_dvc=True)
    assert raised.value.exit_code == 2
    assert "Median" in str(raised.value)
    assert "did you mean random_forest?" in str(raised.value)


def test_the_hyperparameters_that_dvc_looks_at_have_to_be_there(project):
    """An algorithm without a line is refused before DVC stumbles over it, and the line is spelled."""
    with pytest.raises(ConfigError) as raised:
        check_project(project("Median"), use_dvc=True)
    assert "add `Median: {}`" in str(raised.value)
    check_project(project("Median"), use_dvc=False)
    check_project(project("Median", {"Median": {}}), use_dvc=True)


@pytest.mark.parametrize("setting", ["target_transform", "early_stopping"])
def test_a_setting_that_an_older_dvc_yaml_does_not_look_at(tmp_path, project, setting):
    """Changing it would train nothing, so the line to add is spelled; without DVC it counts anyway."""
    value = {"target_transform": "log", "early_stopping": {"rounds": 5}}[setting]
    plain = project(hyperparameters={"linear": {}})
    config = load_config(plain.as_dict() | {"training": {setting: value}})
    with pytest.raises(ConfigError, match=f"does not look at training.{setting}") as raised:
        check_project(config, use_dvc=True)
    assert raised.value.hint == f"add `- training.{setting}` below training.cv_folds there"
    check_project(config, use_dvc=False)
    (tmp_path / "dvc.yaml").write_text(f"stages: {{train: {{params: [training.{setting}]}}}}\n")
    check_project(config, use_dvc=True)


@pytest.mark.parametrize("name", ["dvc.yaml", "features.py"])
def test_a_missing_file_of_the_pipeline_is_named(project, tmp_path, name):
    """A file that DVC would look for in vain is named with the way to bring it back."""
    (tmp_path / name).unlink()
    with pytest.raises(NotFoundError, match=f"{name} is missing") as raised:
        check_project(project(hyperparameters={"linear": {}}), use_dvc=True)
    assert f"git checkout {name}" in raised.value.hint


def test_damaged_files_of_dvc_are_found(project, tmp_path):
    """A dvc.lock that DVC did not write is named."""
    config = project(hyperparameters={"linear": {}})
    check_dvc_files(config)
    (tmp_path / "dvc.lock").write_text("garbage")
    with pytest.raises(UsageError, match=r"dvc\.lock is damaged"):
        check_dvc_files(config)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b"null", b'{"versions": [{"name": "a"}]}', b'{"schema_version": 9}'],
)
def test_a_damaged_registry_is_found(project, tmp_path, content):
    """A registry.json that cannot be read is said before anything is trained for it, and left as it is."""
    path = tmp_path / "models/model_registry/registry.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ModelbookError, match="the local registry") as raised:
        check_project(project(), use_dvc=False)
    assert raised.value.exit_code == 1
    assert raised.value.hint
    assert path.read_bytes() == content
