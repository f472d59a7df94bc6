"""The recorded environment: what differs from it, and what is said where it cannot be built."""

import sys

import pytest

from modelbook.errors import ModelRefusedError, NotFoundError
from modelbook.logs import PipelineLogger
from modelbook.pipeline.reproduction import environment
from modelbook.pipeline.reproduction.environment import environment_changes, recorded_python
from modelbook.tracking.lineage import read_environment


@pytest.fixture(scope="module")
def now():
    """The environment of the tests."""
    return read_environment()


def test_each_difference_is_named(now):
    """Versions, Python, processor and its vector instructions are each named with both values."""
    recorded = now.model_copy(
        update={
            "python": "3.10.1",
            "cpu": "Example CPU",
            "cpu_features": (*now.cpu_features, "avx9"),
            "packages": now.packages | {"polars": "0.1", "gone": "1.0"},
        }
    )
    assert environment_changes(recorded, now) == (
        f"Python: 3.10.1 → {now.python}",
        f"CPU: Example CPU → {now.cpu}",
        "CPU features missing here: avx9",
        f"package polars: 0.1 → {now.packages['polars']}",
        "package gone: 1.0 → not installed",
    )


def test_further_packages_are_one_line(now):
    """Packages that were not there are named together, as many as are worth reading."""
    more = now.model_copy(update={"packages": now.packages | {f"new{number}": "1" for number in range(8)}})
    (line,) = environment_changes(now, more)
    assert line == "packages here and not there: new0, new1, new2, new3, new4 and 3 more"


@pytest.mark.parametrize(
    "update",
    [
        {"python": "../../python"},
        {"packages": {"polars": "2.1.0 @ https://example.org/polars.whl"}},
        {"packages": {"--index-url https://example.org": "1"}},
    ],
)
def test_what_is_no_version_is_refused(now, update):
    """Addresses, options and paths in a record never reach uv."""
    with pytest.raises(ModelRefusedError, match="more than names and versions"):
        recorded_python(now.model_copy(update=update), log=PipelineLogger("test"))


def test_an_older_record_knows_no_vector_instructions(now):
    """Where the record says nothing of them, nothing is said."""
    assert environment_changes(now.model_copy(update={"cpu_features": ()}), now) == ()


def test_without_uv(now, monkeypatch, tmp_path):
    """Without uv the recorded environment cannot be built, and what to do is said."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFoundError, match="uv is not installed") as caught:
        recorded_python(now, log=PipelineLogger("test"))
    assert "pip install uv" in caught.value.hint


def test_packages_that_are_not_to_be_had(now, monkeypatch, tmp_path):
    """What uv says is passed on, and nothing half built is taken for an environment."""
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho 'no such version' >&2\nexit 1\n")
    uv.chmod(0o755)
    monkeypatch.setattr(environment, "_find_uv", lambda: str(uv))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(NotFoundError, match="cannot be built") as caught:
        recorded_python(now, log=PipelineLogger("test"))
    assert caught.value.got == "no such version"
    assert not list(tmp_path.rglob("complete"))
