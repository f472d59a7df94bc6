import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from modelbook.errors import StorageError
from modelbook.records import (
    CodeState,
    Environment,
    GateDecision,
    GateVerdict,
    ModelRecord,
    RejectedRows,
    RunMetadata,
    ValidationReport,
)


def test_written_and_read(make_metadata, tmp_path: Path):
    """A record that is written and read again is equal, times with their zone and all."""
    metadata = make_metadata()
    metadata.write(tmp_path / "deep" / "metadata.json")
    assert RunMetadata.read(tmp_path / "deep" / "metadata.json") == metadata


def test_the_file_is_for_people_too(make_metadata, tmp_path: Path):
    """The file is indented JSON with a line end."""
    make_metadata().write(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("}\n")
    assert '\n  "uid": "aaaa' in text
    assert json.loads(text)["schema_version"] == 1


def test_numbers_that_json_does_not_have(make_metadata, tmp_path: Path):
    """NaN and the infinities come back as numbers."""
    metrics = {"test_mape": math.inf, "test_r2_score": -math.inf, "test_rmse": math.nan}
    make_metadata(metrics=metrics).write(tmp_path / "a.json")
    back = RunMetadata.read(tmp_path / "a.json").metrics
    assert (back["test_mape"], back["test_r2_score"]) == (math.inf, -math.inf)
    assert math.isnan(back["test_rmse"])


def test_a_patch_of_any_bytes(tmp_path: Path):
    """A patch may hold any bytes, and comes back as it was."""
    state = CodeState(commit="0" * 40, branch=None, is_dirty=True, patch=bytes(range(256)))
    state.write(tmp_path / "a.json")
    assert CodeState.read(tmp_path / "a.json") == state


@pytest.mark.parametrize("classes", [("no", "yes"), (0, 1), (False, True), ("0", "1")])
def test_classes_keep_their_type(make_metadata, classes):
    """A class that is text stays text, a number a number, a truth value a truth value."""
    record = make_metadata(model={"task": "classification", "classes": classes}).model
    back = ModelRecord.model_validate_json(record.model_dump_json()).classes
    assert [(type(value), value) for value in back] == [(type(value), value) for value in classes]


def test_frozen_and_closed(make_metadata):
    """A record neither changes nor takes fields that it does not know."""
    metadata = make_metadata()
    with pytest.raises(ValidationError):
        metadata.uid = "b"
    with pytest.raises(ValidationError):
        RejectedRows(reason="missing", column=None, rows=1, share=0.5)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"uid": 1}'])
def test_damaged_file(tmp_path: Path, content: bytes):
    """A file that holds something else is refused."""
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValidationError):
        RunMetadata.read(tmp_path / "a.json")


def test_no_place_to_write(make_metadata, tmp_path: Path):
    """Where a record cannot be written, a StorageError says so."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        make_metadata().write(tmp_path / "file" / "a.json")


def test_what_validation_found():
    """A report passes without failures, however many rows were rejected, and counts those."""
    report = ValidationReport(rows=9, valid_rows=7, rejected=(), warnings=("w",), failures=(), columns=())
    assert report.passed
    assert report.rejected_rows == 2
    assert not report.model_copy(update={"failures": ("too few",)}).passed


@pytest.mark.parametrize(
    ("verdict", "passed"),
    [(GateVerdict.PASSED, True), (GateVerdict.NONE, True), (GateVerdict.REJECTED, False)],
)
def test_who_may_be_registered(verdict: GateVerdict, passed: bool):  # noqa: FBT001
    """A model may be registered unless the gate rejected it."""
    assert GateDecision(verdict=verdict, checks=()).passed is passed


def test_environment_as_requirements():
    """The lock names Python in a comment and pins the packages in order."""
    environment = Environment(
        python="3.11.7", platform="Linux", cpu="", packages={"b": "2", "a": "1.0"}, sha256="e" * 64
    )
    assert environment.lock == "# Python 3.11.7\na==1.0\nb==2\n"
