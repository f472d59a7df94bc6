"""Many rows predicted in parts, and no longer than there is time."""

import time

import numpy as np
import pytest

from modelbook.serving.current import Serving
from modelbook.serving.pool import TooLongError
from modelbook.serving.prediction import Asked, Predictor

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
