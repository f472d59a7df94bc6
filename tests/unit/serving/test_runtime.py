"""A bundle opened: its model answers as in training, and nothing else than what was written is opened."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from modelbook.errors import ModelRefusedError, NotFoundError, UsageError
from modelbook.models.package import pack
from modelbook.records import InputColumn
from modelbook.registry.loading import FoundModel
from modelbook.serving.bundle import write_bundle
from modelbook.serving.runtime import open_runtime


def rows_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return a table as a server reads it from a request."""

    def array(column: pd.Series) -> np.ndarray:
        if column.dtype.kind == "M":
            return column.to_numpy(dtype="datetime64[us]")
        if isinstance(column.dropna().iloc[0], str):
            return np.array([value if isinstance(value, str) else None for value in column], dtype=object)
        return column.astype(object).where(column.notna(), np.nan).to_numpy().astype(np.float64)

    return {name: array(table[name]) for name in table.columns}


@pytest.fixture
def bundle(classifier, tmp_path: Path) -> Path:
    """Return the folder of a bundle."""
    found = FoundModel(classifier.model, classifier.record, "houses", "3")
    write_bundle(found, classifier.package, tmp_path / "bundle", golden=classifier.golden)
    return tmp_path / "bundle"


def test_answers_as_in_training(bundle: Path, classifier, make_houses):
    """Predictions and probabilities are those of the trainer, to the last bit."""
    table = make_houses(100)
    answer = open_runtime(bundle).predict(rows_of(table), with_probabilities=True)
    assert answer.predictions.tolist() == classifier.trainer.predict(table).tolist()
    np.testing.assert_array_equal(answer.probabilities, classifier.trainer.predict_proba(table))


def test_no_rows_have_no_predictions(bundle: Path, make_houses):
    """Of no rows nothing is said."""
    rows = {name: values[:0] for name, values in rows_of(make_houses(5)).items()}
    answer = open_runtime(bundle).predict(rows, with_probabilities=True)
    assert answer.predictions.shape == (0,)
    assert answer.probabilities.shape == (0, 2)


def test_what_is_told_of_columns(bundle: Path, classifier):
    """The manifest names the columns with their types, what they held and a value that they take."""
    told = json.loads((bundle / "bundle.json").read_text())
    assert (told["name"], told["version"], told["record"]["digest"]) == (
        "houses",
        "3",
        classifier.record.digest,
    )
    area = next(column for column in told["columns"] if column["name"] == "area")
    assert area["type"] == "float"
    assert area["min"] == classifier.table["area"].min()


@pytest.mark.parametrize("name", ["bundle.json", "compiled.json", "golden.json", "arrays/nodes.npy"])
def test_a_changed_file_is_refused(bundle: Path, name: str):
    """One changed byte anywhere in the bundle, and it is not opened."""
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).unlink()
    (bundle / name).write_bytes(content)
    with pytest.raises(ModelRefusedError, match="not what was written"):
        open_runtime(bundle)


def test_a_file_more_or_less_is_refused(bundle: Path):
    """The bundle has the listed files and no others."""
    (bundle / "more.json").write_text("{}")
    with pytest.raises(ModelRefusedError) as refused:
        open_runtime(bundle)
    assert "more.json" in refused.value.got
    (bundle / "more.json").unlink()
    (bundle / "arrays" / "nodes.npy").unlink()
    with pytest.raises(ModelRefusedError):
        open_runtime(bundle)


def test_no_bundle(tmp_path: Path):
    """Where there is no bundle, that is said."""
    with pytest.raises(NotFoundError):
        open_runtime(tmp_path)


def test_a_model_without_a_record_is_not_bundled(classifier, tmp_path: Path):
    """Nobody knows what a .joblib file takes; nothing is left behind."""
    with pytest.raises(UsageError):
        write_bundle(FoundModel(classifier.model, None), classifier.package, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_model_of_somebody_elses_making(tmp_path: Path):
    """A pipeline that Modelbook did not put together is served with its own code."""
    table = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0]})
    scaler = ColumnTransformer([("size", StandardScaler(), ["size"])])
    model = Pipeline([("features", scaler), ("estimator", Ridge())]).fit(table, [1.0, 2.0, 3.0, 4.0])
    inputs = (InputColumn(name="size", type="float", nullable=False),)
    record = pack(
        model, tmp_path / "package", algorithm="ridge", task="regression", target="y", inputs=inputs, code=()
    )
    manifest = write_bundle(FoundModel(model, record), tmp_path / "package", tmp_path / "bundle")
    assert manifest.kind == "reference"
    rows = {"size": np.array([2.5])}
    assert open_runtime(tmp_path / "bundle").predict(rows).predictions == model.predict(table[:1] + 1.5)
