"""A small classifier over a column of every type, and the record of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelbook.features.engineer import FeatureEngineer
from modelbook.models.package import pack
from modelbook.models.train import ModelTrainer
from modelbook.records import InputColumn, ModelRecord
from modelbook.serving.runtime import Answer

COLUMNS = {"rooms": "integer", "area": "float", "zone": "string", "new": "boolean", "built": "datetime"}
FEATURES = {
    "numeric": {"columns": ["rooms", "area"]},
    "categorical": {"columns": ["zone"]},
    "boolean": {"columns": ["new"]},
    "datetime": {"columns": ["built"]},
}


@dataclass(frozen=True)
class Trained:
    """A fitted model with the rows that it was trained on."""

    model: Any
    record: ModelRecord
    trainer: ModelTrainer
    table: pd.DataFrame
    package: Path

    @property
    def golden(self) -> pd.DataFrame:
        """Rows with what was recorded of them."""
        told = self.table.assign(predicted=self.trainer.predict(self.table))
        if not self.record.classes:
            return told
        names = [f"probability_{label}" for label in self.record.classes]
        probabilities = pd.DataFrame(self.trainer.predict_proba(self.table), columns=names)
        return pd.concat([told, probabilities], axis=1)


def houses(rows: int) -> pd.DataFrame:
    """Return houses with a column of every type, some of whose values are missing."""
    random = np.random.default_rng(3)
    built = pd.Timestamp("2000-01-01") + pd.to_timedelta(random.integers(0, 9000, rows), unit="D")
    table = pd.DataFrame(
        {
            "rooms": random.integers(1, 9, rows),
            "area": random.normal(100, 20, rows),
            "zone": random.choice(["a", "b", "ü"], rows),
            "new": random.choice([True, False], rows),
            "built": built.as_unit("us"),
        }
    )
    return table.mask(random.random(table.shape) < 0.05)


def train(folder: Path, *, task: str = "classification", algorithm: str = "lightgbm") -> Trained:
    """Fit a small model, pack it into a folder and return it."""
    schema = {name: {"type": kind, "nullable": name != "area"} for name, kind in COLUMNS.items()}
    config = {
        "project": {"task": task},
        "data": {"target": "sold", "schema": schema | {"sold": {"type": "string"}}},
        "features": FEATURES,
        "model": {"algorithm": algorithm, "hyperparameters": {"lightgbm": {"n_estimators": 5}}},
    }
    table = houses(300).fillna({"area": 100.0})
    score = table["area"] + 5 * table["rooms"].fillna(4)
    target = score.astype(float) if task == "regression" else np.where(score > 120, "yes", "no")
    trainer = ModelTrainer(config)
    model = trainer.train(table, pd.Series(target))
    record = pack(
        model,
        folder,
        algorithm=algorithm,
        task=task,
        target="sold",
        inputs=FeatureEngineer(config).inputs,
        code=trainer.code_files,
    )
    return Trained(model, record, trainer, table, folder)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Trained:
    """Return a fitted classifier of the classes no and yes."""
    return train(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="session")
def regressor(tmp_path_factory) -> Trained:
    """Return a fitted regressor."""
    return train(tmp_path_factory.mktemp("regressor"), task="regression")


@pytest.fixture(scope="session")
def make_houses():
    """Return a function that makes houses."""
    return houses


class Fixed:
    """Doubles the rooms, or does what it is told."""

    def __init__(self, *, kind="compiled", classes=(), act=None) -> None:
        inputs = (
            InputColumn(name="rooms", type="integer", nullable=True),
            InputColumn(name="zone", type="string", nullable=True),
        )
        task = "classification" if classes else "regression"
        self.record = ModelRecord.model_construct(task=task, classes=classes, inputs=inputs, algorithm="x")
        self.kind, self._act = kind, act

    def predict(self, rows, *, with_probabilities=False) -> Answer:  # noqa: D102
        if self._act:
            self._act()
        number = len(rows["rooms"])
        if self.record.classes:
            probabilities = np.full((number, len(self.record.classes)), 0.5)
            labels = np.array(self.record.classes)[np.zeros(number, dtype=int)]
            return Answer(labels, probabilities if with_probabilities else None)
        return Answer(rows["rooms"] * 2, None)


@pytest.fixture(scope="session")
def make_runtime():
    """Return a function that makes a model of two columns that doubles the rooms."""
    return Fixed
