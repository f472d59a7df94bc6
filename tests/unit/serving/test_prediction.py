"""Many rows predicted in parts, and no longer than there is time."""

import time

import numpy as np
import pytest

from modelbook.errors import DataInvalidError
from modelbook.records import InputColumn
from modelbook.serving.current import Serving
from modelbook.serving.pool import TooLongError
from modelbook.serving.prediction import Asked, Predictor
from modelbook.serving.refusal import RequestRefusedError

ROWS = 20_000


def asked(*, has_probabilities: bool = False) -> Asked:
    return Asked({"rooms": np.arange(float(ROWS))}, ROWS, has_probabilities)


@pytest.mark.parametrize("has_probabilities", [True, False])
@pytest.mark.parametrize("classes", [(), ("no", "yes")])
def test_parts_are_one_answer(make_runtime, classes, *, has_probabilities) -> None:
    """What is said of many rows is what is said of them at once, each in its place."""
    calls = []
    runtime = make_runtime(classes=classes, act=lambda: calls.append(1))
    predictor = Predictor(Serving(runtime, "houses", "7"))
    question = asked(has_probabilities=has_probabilities and bool(classes))
    at_once = predictor.predict(question)
    in_parts = predictor.predict(question, until=time.monotonic() + 60)
    assert in_parts.content == at_once.content
    assert len(in_parts.answer.predictions) == ROWS
    assert len(calls) == 4


def test_a_model_is_ended_between_parts(make_runtime) -> None:
    """Nobody waits for what is beyond the time of a request, and nothing works on it."""
    calls = []

    def act() -> None:
        calls.append(1)
        time.sleep(0.05)

    predictor = Predictor(Serving(make_runtime(act=act), "houses", "7"))
    with pytest.raises(TooLongError):
        predictor.predict(asked(), until=time.monotonic() + 0.04)
    assert len(calls) == 1


def test_a_gap_that_the_model_does_not_fill_is_named(make_runtime) -> None:
    """Every gap is named by column and row, those first that training knew nothing of."""

    def refuse() -> None:
        raise DataInvalidError("the model does not take the rows")

    runtime = make_runtime(act=refuse)
    columns = {"zone": "string", "built": "datetime", "rooms": "integer"}
    inputs = [InputColumn(name=name, type=kind, nullable=name != "rooms") for name, kind in columns.items()]
    runtime.record = runtime.record.model_copy(update={"inputs": tuple(inputs)})
    rows = {
        "zone": np.array(["north", None, None], dtype=object),
        "built": np.array(["2020-01-01", "NaT", "2020-01-01"], dtype="datetime64[us]"),
        "rooms": np.array([3.0, 4.0, np.nan]),
    }
    with pytest.raises(RequestRefusedError) as raised:
        Predictor(Serving(runtime, "houses", "7")).predict(Asked(rows, 3, has_probabilities=False))
    assert (raised.value.status, raised.value.cause, raised.value.mistakes_found) == (400, "rows", 4)
    assert [tuple(mistake) for mistake in raised.value.mistakes] == [
        ("rooms", 2, "a value is missing; in training each row had one"),
        ("zone", 1, "a value is missing"),
        ("zone", 2, "a value is missing"),
        ("built", 1, "a value is missing"),
    ]
