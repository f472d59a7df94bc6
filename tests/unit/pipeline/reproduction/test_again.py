"""The stages in a process of their own."""

import sys

import pytest

from modelbook.errors import NotReproducedError
from modelbook.pipeline.reproduction.again import run_again
from modelbook.records import Outcome, Trial


def test_a_search_of_any_length_is_handed_on(tmp_path):
    """A search of an hour tries more than a command line holds; what was chosen is all that is needed."""
    trial = Trial(number=1, algorithm="linear", settings={"alpha": 0.5}, seconds=0.1, score=1.0)
    outcome = Outcome(
        algorithm="linear",
        hyperparameters={"alpha": 0.5},
        metric="rmse",
        score=1.0,
        trials=(trial,) * 5_000,
        seconds=3600.0,
    )
    with pytest.raises(NotReproducedError, match="there is no config file"):
        run_again(
            sys.executable, tmp_path, raw="data/raw/t.csv", threads=1, logs=tmp_path / "logs", outcome=outcome
        )
