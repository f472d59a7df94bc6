"""A model that answers: typed rows go in, predictions come out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from modelbook.records import ModelRecord
from modelbook.serving.manifest import Kind, read_manifest

Rows = Mapping[str, npt.NDArray[Any]]


class Answer(NamedTuple):
    """What a model says of rows.

    Attributes:
        predictions: `(n_rows,)`: float64, or the classes.
        probabilities: `(n_rows, n_classes)`, in the order of the record's classes; None where nobody asked,
            or the model has none.
    """

    predictions: npt.NDArray[Any]
    probabilities: npt.NDArray[np.float64] | None


class Runtime(Protocol):
    """A model that is ready to answer; several threads may ask it at once.

    Attributes:
        record: What is recorded of the model.
        kind: Whether its own code answers (`reference`), or constants that were taken out of it (`compiled`).
    """

    record: ModelRecord
    kind: Kind

    def predict(self, rows: Rows, *, with_probabilities: bool = False) -> Answer:
        """Return what the model says of rows.

        Args:
            rows: One array for each input column, `(n_rows,)`: float64 with NaN where missing for numbers and
                truth values, objects (`str`, None where missing) for text, datetime64[us] for times.
            with_probabilities: Whether a classifier says how probable each class is.

        Raises:
            DataInvalidError: The model does not take such rows.
            ModelbookError: The model failed.
        """
        ...


def open_runtime(folder: Path) -> Runtime:
    """Return the model of a bundle, after every file was held against its hash.

    Where the bundle is compiled, none of scikit-learn, pandas, Polars and MLflow is imported.

    Raises:
        NotFoundError: There is no bundle.
        ModelRefusedError: A file is missing or another, or the model holds what is not trusted.
    """
    manifest = read_manifest(folder)
    from modelbook.serving.reference import open_reference

    return open_reference(folder, manifest.record)
