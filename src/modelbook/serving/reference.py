"""A model that answers with its own code: whatever it is, it predicts as it did in training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from modelbook.config import ColumnType
from modelbook.data.values import DTYPES
from modelbook.errors import DataInvalidError, ModelbookError
from modelbook.models.fit import set_single_threaded
from modelbook.models.package import unpack
from modelbook.models.predict import predict_rows
from modelbook.records import InputColumn, ModelRecord
from modelbook.serving.answers import Answer, Rows
from modelbook.serving.golden import Golden
from modelbook.serving.manifest import MODEL_FOLDER, Kind, Manifest


class ReferenceRuntime:
    """Hands rows to the fitted pipeline as the table that it saw in training.

    Args:
        model: The fitted pipeline.
        manifest: What the bundle says of itself.
        golden: Rows with what the model said of them.
    """

    kind: Kind = "reference"

    def __init__(self, model: Any, manifest: Manifest, golden: Golden | None = None) -> None:
        set_single_threaded(model)
        self.record = manifest.record
        self.columns = manifest.columns
        self.has_probabilities = manifest.has_probabilities
        self.golden = golden
        self._model = model

    def predict(self, rows: Rows, *, with_probabilities: bool = False) -> Answer:
        """Return what the model says of rows.

        Raises:
            DataInvalidError: The model does not take such rows.
            ModelbookError: The model failed.
        """
        table = frame_of(rows, self.record.inputs)
        if not len(table):
            return no_answer(self.record, with_probabilities=with_probabilities)
        try:
            predictions, probabilities = predict_rows(self._model, table)
        except ValueError as error:
            raise DataInvalidError(
                "the model does not take the rows",
                got=f"{type(error).__name__} from {self.record.algorithm}",
                hint="send rows like those that the model was trained on, with no more gaps than those",
            ) from error
        except Exception as error:
            raise ModelbookError("the model failed on the rows", got=type(error).__name__) from error
        return Answer(predictions, probabilities if with_probabilities else None)


def open_reference(folder: Path, manifest: Manifest, golden: Golden | None = None) -> ReferenceRuntime:
    """Return the model whose package lies in a bundle.

    Raises:
        NotFoundError: A file is missing.
        ModelRefusedError: A file is not the recorded one, or the model holds what is not trusted.
    """
    return ReferenceRuntime(unpack(folder / MODEL_FOLDER, manifest.record), manifest, golden)


def frame_of(rows: Rows, inputs: Sequence[InputColumn]) -> pd.DataFrame:
    """Return rows as the table that a model saw in training, the types that gaps make of columns included.

    Example:
        >>> rows = {"rooms": np.array([3.0, np.nan])}
        >>> frame_of(rows, [InputColumn(name="rooms", type="integer", nullable=True)])["rooms"].tolist()
        [3.0, nan]
    """
    return pl.DataFrame(
        [_series(column.name, column.type, rows[column.name]) for column in inputs]
    ).to_pandas()


def _series(name: str, kind: ColumnType, values: np.ndarray[Any, Any]) -> pl.Series:
    if kind == "string":
        return pl.Series(name, values.tolist(), dtype=pl.String())
    return pl.Series(name, values, nan_to_null=True).cast(DTYPES[kind])


def no_answer(record: ModelRecord, *, with_probabilities: bool) -> Answer:
    """Return what a model says of no rows."""
    if record.task == "regression":
        return Answer(np.empty(0), None)
    probabilities = np.empty((0, len(record.classes))) if with_probabilities else None
    return Answer(np.array(record.classes)[:0], probabilities)
