"""From the bytes of a request to the bytes of the answer, for one version of a model."""

import time
from typing import NamedTuple

import numpy as np
import orjson

from modelbook.errors import DataInvalidError
from modelbook.serving.current import Serving
from modelbook.serving.pool import PooledRuntime, TooLongError
from modelbook.serving.protocol import Given, read_body
from modelbook.serving.refusal import RequestRefusedError
from modelbook.serving.rows import RowReader, refuse_gaps
from modelbook.serving.runtime import Answer, Rows, Runtime

_ROWS_AT_ONCE = 8_192  # nothing ends what works in this process: it looks at the clock between so many


class Asked(NamedTuple):
    """Typed rows, and what is asked of them."""

    rows: Rows
    rows_asked: int
    has_probabilities: bool


class Predicted(NamedTuple):
    """What a request comes to.

    Attributes:
        content: The answer's JSON.
        asked: What was asked.
        answer: What the model said.
    """

    content: bytes
    asked: Asked
    answer: Answer


class Predictor:
    """Reads and answers the requests on one version.

    Args:
        serving: The version.
        has_parquet: Whether Parquet is taken.
    """

    def __init__(self, serving: Serving, *, has_parquet: bool = False) -> None:
        self.serving = serving
        self.runtime: Runtime = serving.runtime
        self._reader = RowReader(self.runtime.record.inputs)
        self._has_parquet = has_parquet

    def read(self, body: bytes, content_type: str | None) -> Asked:
        """Return the rows of a request in the model's types.

        Raises:
            RequestRefusedError: The request cannot be taken.
        """
        given = read_body(body, content_type, types=self._reader.types, has_parquet=self._has_parquet)
        return Asked(self._reader.read(given.columns), given.rows, self._wants_probabilities(given))

    def predict(self, asked: Asked, *, until: float | None = None) -> Predicted:
        """Return the answer for rows.

        Args:
            asked: What is asked.
            until: When the model is ended, as a time of `time.monotonic`.

        Raises:
            TooLongError: It was ended.
            RequestRefusedError: The model has no probabilities, or does not take the rows.
            ModelbookError: The model failed.
        """
        try:
            answer = self._answer(asked, until)
        except DataInvalidError as error:
            raise refuse_gaps(error, asked.rows, self.runtime.record.inputs) from error
        return Predicted(to_json(answer, has_probabilities=asked.has_probabilities), asked, answer)

    def _answer(self, asked: Asked, until: float | None) -> Answer:
        wanted = asked.has_probabilities
        if until is not None and isinstance(self.runtime, PooledRuntime):
            return self.runtime.predict_until(until, asked.rows, with_probabilities=wanted)
        if until is not None and asked.rows_asked > _ROWS_AT_ONCE:
            return self._predict_in_parts(asked, until)
        return self.runtime.predict(asked.rows, with_probabilities=wanted)

    def _predict_in_parts(self, asked: Asked, until: float) -> Answer:
        parts = []
        for start in range(0, asked.rows_asked, _ROWS_AT_ONCE):
            if time.monotonic() >= until:
                raise TooLongError("the model did not answer in time")
            rows = {name: values[start : start + _ROWS_AT_ONCE] for name, values in asked.rows.items()}
            parts.append(self.runtime.predict(rows, with_probabilities=asked.has_probabilities))
        probabilities = [part.probabilities for part in parts if part.probabilities is not None]
        return Answer(
            np.concatenate([part.predictions for part in parts]),
            np.concatenate(probabilities) if probabilities else None,
        )

    def _wants_probabilities(self, given: Given) -> bool:
        if given.method == "predict":
            return False
        if not self.runtime.record.classes:
            raise RequestRefusedError("a model of numbers has no probabilities", cause="params")
        return True


def to_json(answer: Answer, *, has_probabilities: bool) -> bytes:
    """Return predictions as MLflow's server writes them, but null for what JSON has no word for.

    Raises:
        RequestRefusedError: There are no probabilities.

    Example:
        >>> to_json(Answer(np.array([1.5, np.nan]), None), has_probabilities=False)
        b'{"predictions":[1.5,null]}'
    """
    values = answer.probabilities if has_probabilities else answer.predictions
    if values is None:
        raise RequestRefusedError("the model has no probabilities", cause="params")
    if values.dtype == np.float64:
        content = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    else:
        content = orjson.dumps(values.tolist())
    return b'{"predictions":' + content + b"}"
