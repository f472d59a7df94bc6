"""The server held against its own description by schemathesis, with every check that it knows."""

import runpy
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

CASES = 150  # of each operation
SLOW_CASES = 2_000

app = runpy.run_path(str(Path(__file__).parents[1] / "typed_app.py"))["typed_app"]()
schema = schemathesis.openapi.from_asgi("/openapi.json", app)


@schema.parametrize()
@settings(max_examples=CASES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_is_as_described(case) -> None:
    """What the description allows is answered, what it does not is refused, and answers are as described."""
    case.call_and_validate()


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=SLOW_CASES, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_is_as_described_in_thousands_of_cases(case) -> None:
    """The same, many times over."""
    case.call_and_validate()
