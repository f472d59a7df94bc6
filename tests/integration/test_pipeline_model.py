"""The model as MLflow holds it: in MLflow's own format, with types that take what users have."""

import importlib.metadata
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from ruamel.yaml import YAML

from modelbook.registry.loading import load_model

FEATURES = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class Scaled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def transform(self, X):
        return X.assign(area=np.log1p(X["area"]) * FACTOR)

    def get_feature_names_out(self, input_features=None):
        return self.feature_names_in_
"""


@pytest.fixture(scope="module")
def tailored(new_project, tmp_path_factory):
    """A project with a transformer of the user's own, a category and whole numbers with gaps."""
    project = new_project.copy(tmp_path_factory.mktemp("tailored") / "houses")
    project.write("features.py", FEATURES.replace("FACTOR", "1.0"))
    project.set({"features.custom": "Scaled"})
    project.commit()
    project.run()
    return project


def folder_of(project, version="1"):
    client = project.client
    source = client.get_model_version_download_uri(project.config.tracking.model_name, version)
    return Path(source.removeprefix("file://"))


def rows_of(project):
    table = pl.read_parquet(project.root / "data/processed/test.parquet").to_pandas()
    return table.drop(columns=project.config.data.target)


def test_plain_mlflow_predicts_what_was_recorded(tailored, plain_mlflow):
    """Loaded by MLflow, the model predicts for the test rows exactly what the run recorded."""
    predicted = plain_mlflow(tailored).predict(rows_of(tailored))
    assert np.array_equal(predicted, tailored.predictions["predicted"].to_numpy())


def test_the_flavors_name_no_code_of_ours(tailored):
    """The folder is a skops model of MLflow's scikit-learn flavor, with its code beside it."""
    content = YAML(typ="safe").load(folder_of(tailored) / "MLmodel")
    flavor = content["flavors"]["sklearn"]
    assert flavor["serialization_format"] == "skops"
    assert content["flavors"]["python_function"]["loader_module"] == "mlflow.sklearn"
    assert flavor["skops_trusted_types"]
    assert not [name for name in flavor["skops_trusted_types"] if name.startswith("modelbook.")]
    shipped = {path.name for path in (folder_of(tailored) / "code").iterdir()}
    assert {re.sub(r"_[0-9a-f]{12}\.py$", "", name) for name in shipped} == {
        "features",
        "modelbook_derived",
        "modelbook_matrix",
        "modelbook_transformers",
    }


def test_requirements_are_exact_and_public(tailored):
    """The requirements pin what the model needs to the installed versions, and Modelbook is not one."""
    pins = dict(line.split("==") for line in (folder_of(tailored) / "requirements.txt").read_text().split())
    assert {"mlflow", "scikit-learn", "skops", "numpy", "pandas"} <= pins.keys()
    assert "modelbook" not in pins
    assert all(importlib.metadata.version(name) == version for name, version in pins.items())
    conda = YAML(typ="safe").load(folder_of(tailored) / "conda.yaml")
    assert conda["dependencies"][-1] == {"pip": [f"{name}=={version}" for name, version in pins.items()]}


def test_the_input_example_fits_the_signature(tailored, plain_mlflow):
    """The example's rows are raw training rows that go through the signature."""
    model = plain_mlflow(tailored)
    example = model.metadata.load_input_example(str(folder_of(tailored)))
    assert list(example.columns) == ["area", "rooms", "town"]
    assert len(model.predict(example)) == 5


@pytest.mark.parametrize(
    "rooms",
    [
        pd.Series([1, 2, 3], dtype="int64"),
        pd.Series([1.0, np.nan, 3.0], dtype="float64"),
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, None, 3], dtype="object"),
    ],
    ids=lambda series: str(series.dtype),
)
def test_whole_numbers_with_gaps_are_taken_as_they_come(tailored, plain_mlflow, rooms):
    """A column of whole numbers that may be missing is accepted in every form that pandas gives it."""
    table = pd.DataFrame({"area": [50.0, 60.0, 70.0], "rooms": rooms, "town": ["Brno", "Porto", "Brno"]})
    as_floats = table.assign(rooms=rooms.astype("float64"))
    model = plain_mlflow(tailored)
    assert np.array_equal(model.predict(table), model.predict(as_floats))


def test_a_category_that_training_did_not_see(tailored, plain_mlflow):
    """An unknown and a missing category are predicted, not refused."""
    table = pd.DataFrame({"area": [50.0, 60.0], "rooms": [2, 2], "town": ["Atlantis", None]})
    assert np.isfinite(plain_mlflow(tailored).predict(table)).all()


def test_a_missing_column_and_a_wrong_type_are_refused_by_name(tailored, plain_mlflow):
    """MLflow's schema enforcement names the column that is missing or of another type."""
    from mlflow.exceptions import MlflowException

    model = plain_mlflow(tailored)
    with pytest.raises(MlflowException, match="town"):
        model.predict(pd.DataFrame({"area": [50.0], "rooms": [2]}))
    with pytest.raises(MlflowException, match="area"):
        model.predict(pd.DataFrame({"area": ["large"], "rooms": [2], "town": ["Brno"]}))


def test_two_versions_with_different_code_in_one_process(tailored, plain_mlflow, tmp_path):
    """Models with different features.py live side by side: each runs the code that it was trained with."""
    project = tailored.copy(tmp_path / "houses")
    rows = rows_of(project)
    first = project.predictions["predicted"].to_numpy()
    project.write("features.py", FEATURES.replace("FACTOR", "-1.0"))
    outcome = project.run()
    second = project.predictions["predicted"].to_numpy()
    assert outcome.model.version == "2"
    assert not np.array_equal(first, second)
    models = {version: plain_mlflow(project, version) for version in ("1", "2", "1")}
    own = {version: load_model(f"models:/houses/{version}", config=project.root) for version in ("2", "1")}
    for version, expected in {"1": first, "2": second}.items():
        assert np.array_equal(models[version].predict(rows), expected)
        assert np.array_equal(own[version].predict(rows), expected)


@pytest.mark.parametrize("ref", ["models:/houses/1", "houses", "houses/1", "runs:/{run_id}"])
def test_load_model_finds_it_by_every_name(tailored, ref):
    """`load_model` finds a version by MLflow's name, by the local one and by its run."""
    model = load_model(ref.format(run_id=tailored.metadata.run_id), config=tailored.root)
    assert np.array_equal(model.predict(rows_of(tailored)), tailored.predictions["predicted"].to_numpy())


def test_disk_space_is_not_taken_twice(tailored):
    """The model's file in models/, in the registry and in the local store share their blocks on disk."""
    (entry,) = tailored.registry
    files = [
        tailored.root / "models/model.skops",
        tailored.root / entry["file"],
        folder_of(tailored) / "model.skops",
    ]
    assert len({path.stat().st_ino for path in files}) == 1
