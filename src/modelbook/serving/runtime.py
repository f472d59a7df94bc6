"""A model that answers: typed rows go in, predictions come out."""

from pathlib import Path
from typing import Protocol

from modelbook.errors import ModelbookError, ModelRefusedError
from modelbook.models.estimators import usable_cores
from modelbook.records import ModelRecord
from modelbook.serving.answers import Answer, Rows, count_differing
from modelbook.serving.golden import Golden, read_golden
from modelbook.serving.manifest import Kind, ServedColumn, read_manifest

_MOST_THREADS = 4

__all__ = ["Answer", "Rows", "Runtime", "check_golden", "open_runtime"]


class Runtime(Protocol):
    """A model that is ready to answer; several threads may ask it at once.

    Attributes:
        record: What is recorded of the model.
        kind: Whether its own code answers (`reference`), or constants that were taken out of it (`compiled`).
        columns: The columns that it takes, as its users are told of them.
        has_probabilities: Whether it says how probable each class is.
        golden: Rows with what the model said of them; None where there are none.
    """

    record: ModelRecord
    kind: Kind
    columns: tuple[ServedColumn, ...]
    has_probabilities: bool
    golden: Golden | None

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


def open_runtime(folder: Path, *, threads: int | None = None) -> Runtime:
    """Return the model of a bundle, after every file was held against its hash.

    Where the bundle is compiled, none of scikit-learn, pandas, Polars and MLflow is imported.

    Args:
        folder: The bundle.
        threads: How many work on many rows at once; None takes the usable cores, up to four.

    Raises:
        NotFoundError: There is no bundle.
        ModelRefusedError: A file is missing or another, or the model holds what is not trusted.
    """
    manifest = read_manifest(folder)
    golden = read_golden(folder)
    if manifest.kind == "compiled":
        from modelbook.serving.compiled.model import open_compiled

        count = threads or min(usable_cores(), _MOST_THREADS)
        return open_compiled(folder, manifest, golden=golden, threads=count)
    from modelbook.serving.reference import open_reference

    return open_reference(folder, manifest, golden)


def check_golden(runtime: Runtime) -> None:
    """Return quietly where a model says of its golden rows what it said when it was recorded.

    Raises:
        ModelRefusedError: It says something else, or cannot answer.
    """
    if runtime.golden is None:
        return
    rows, expected = runtime.golden.rows_of(runtime.record), runtime.golden.answer_of(runtime.record)
    try:
        answer = runtime.predict(rows, with_probabilities=expected.probabilities is not None)
    except ModelbookError as error:
        raise _not_golden(runtime, f"no answer: {error.what}") from error
    if differing := count_differing(answer, expected):
        raise _not_golden(runtime, f"other predictions for {differing} of {len(expected.predictions)} rows")


def _not_golden(runtime: Runtime, got: str) -> ModelRefusedError:
    return ModelRefusedError(
        "the model does not answer as it did when it was recorded",
        where=f"{runtime.record.algorithm}, digest {runtime.record.digest[:12]}",
        got=got,
        hint="do not serve it: make its bundle again, or the model",
    )
