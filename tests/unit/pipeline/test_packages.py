import importlib.metadata
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import modelbook
from modelbook.config import Config, load_config
from modelbook.pipeline import packages
from modelbook.pipeline.packages import note_packages, package_versions, packages_text

FITTING = {"modelbook", "numpy", "pandas", "polars", "scikit-learn", "scipy", "skops"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a project whose dvc.yaml names the file."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("model: {algorithm: random_forest}\n")
    (tmp_path / "dvc.yaml").write_text("# config/packages.yaml\n")
    (tmp_path / "features.py").write_text("import numpy as np\nimport math\n")
    return load_config(tmp_path)


def test_each_stage_has_the_packages_that_it_computes_with(config: Config):
    """Reading and validating stand on Polars, features and models on what they are fitted with."""
    assert {stage: set(versions) for stage, versions in package_versions(config).items()} == {
        "ingest": {"modelbook", "polars"},
        "validate": {"modelbook", "polars"},
        "preprocess": FITTING,
        "train": FITTING,
    }


def test_the_versions_are_those_that_are_installed(config: Config):
    """A version is what the installed package says, Modelbook's own what it says itself."""
    train = package_versions(config)["train"]
    assert train["modelbook"] == modelbook.__version__
    assert train["scikit-learn"] == importlib.metadata.version("scikit-learn")


def test_lightgbm_bears_on_its_own_models_alone(config: Config):
    """The library of an algorithm is a package of `train` while that algorithm is chosen."""
    assert "lightgbm" not in package_versions(config)["train"]
    config.path("config/config.yaml").write_text("model: {algorithm: lightgbm}\n")
    versions = package_versions(load_config(config.root))
    assert "lightgbm" in versions["train"]
    assert "lightgbm" not in versions["preprocess"]


@pytest.mark.parametrize(
    ("code", "further"),
    [
        ("import matplotlib.pyplot as plt\n", {"matplotlib"}),
        ("from ruamel.yaml import YAML\n", {"ruamel.yaml"}),
        ("import no_such_module\n", set()),
        ("import (\n", set()),
        ("\0", set()),
    ],
)
def test_what_the_users_code_imports(config: Config, *, code: str, further: set[str]):
    """Packages that features.py imports bear on features and model; code that is no Python says nothing."""
    config.path("features.py").write_text(code)
    versions = package_versions(config)
    assert further <= set(versions["train"])
    assert further <= set(versions["preprocess"])
    if not further:
        assert set(versions["train"]) == FITTING


def test_no_code_of_the_users(config: Config):
    """A project may have no features.py, as without DVC."""
    config.path("features.py").unlink()
    assert set(package_versions(config)["preprocess"]) == FITTING


def test_versions_are_text(config: Config, monkeypatch: pytest.MonkeyPatch):
    """A version that looks like a number stays the text that it is."""
    monkeypatch.setattr(packages, "_version", lambda _: "1.10")
    read = YAML(typ="safe").load(packages_text(config))
    assert read["ingest"]["polars"] == "1.10"


def test_the_file_is_written_where_it_differs(config: Config):
    """What is up to date is left alone; what is missing or old is written."""
    path = config.path("config/packages.yaml")
    note_packages(config)
    written = path.stat()
    note_packages(config)
    assert path.stat().st_ino == written.st_ino
    path.write_text("old\n")
    note_packages(config)
    assert path.read_text() == packages_text(config)


@pytest.mark.parametrize("pipeline", ["stages: {}\n", None])
def test_a_project_that_knows_of_no_such_file(config: Config, pipeline: str | None):
    """Where dvc.yaml does not name the file, or is missing, none is written."""
    config.path("dvc.yaml").unlink()
    if pipeline:
        config.path("dvc.yaml").write_text(pipeline)
    note_packages(config)
    assert not config.path("config/packages.yaml").exists()
