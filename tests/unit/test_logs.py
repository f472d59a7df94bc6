import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelbook.config import load_config
from modelbook.errors import StorageError
from modelbook.logs import PipelineLogger, format_number, now

MOMENT = datetime(2026, 11, 21, 9, 5, 7, 123_456, tzinfo=UTC)


def test_the_lines_of_a_stage(tmp_path: Path):
    """A stage's log is named after it and its first line, and holds time, level and words of each line."""
    times = iter([MOMENT, *(MOMENT + timedelta(seconds=second) for second in range(1, 9))])
    log = PipelineLogger("train", folder=tmp_path / "logs", clock=lambda: next(times))
    log.stage_start("Training")
    log.metric("RMSE", 48677.2)
    log.warning("one class is rare")
    log.error("it failed")
    log.stage_end("Training")
    (path,) = (tmp_path / "logs").iterdir()
    assert path.name == "train_20261121_090507.log"
    assert path.read_text().splitlines() == [
        "2026-11-21T09:05:07.123+00:00 INFO    ========== STAGE: Training - STARTED ==========",
        "2026-11-21T09:05:08.123+00:00 INFO    METRIC | RMSE: 48677",
        "2026-11-21T09:05:09.123+00:00 WARNING one class is rare",
        "2026-11-21T09:05:10.123+00:00 ERROR   it failed",
        "2026-11-21T09:05:11.123+00:00 INFO    ========== STAGE: Training - COMPLETED ==========",
    ]


def test_silent_until_the_first_line(tmp_path: Path):
    """A logger makes neither folder nor file before there is something to say."""
    PipelineLogger("train", folder=tmp_path / "logs")
    assert list(tmp_path.iterdir()) == []


def test_a_config_as_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Given a Config, the log goes to the project's own folder."""
    monkeypatch.chdir(tmp_path)
    PipelineLogger(load_config({})).info("hello")
    assert [path.name.split("_")[0] for path in (tmp_path / "logs").iterdir()] == ["pipeline"]


def test_whoever_listens_hears_it(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Every line reaches the logger `modelbook`, with or without a file."""
    monkeypatch.setattr(logging.getLogger("modelbook"), "propagate", True)
    with caplog.at_level(logging.INFO, "modelbook"):
        PipelineLogger("train").info("hello")
    assert caplog.record_tuples == [("modelbook.train", logging.INFO, "hello")]


def test_names_that_are_not_text(tmp_path: Path):
    """A file name that is no UTF-8 is written as an escape."""
    PipelineLogger("train", folder=tmp_path).info("reading caf\udce9.csv")
    (path,) = tmp_path.iterdir()
    assert path.read_text().endswith("reading caf\\udce9.csv\n")


def test_a_file_in_the_way(tmp_path: Path):
    """Where the folder of logs cannot be made, a StorageError says so."""
    (tmp_path / "logs").touch()
    with pytest.raises(StorageError) as caught:
        PipelineLogger("train", folder=tmp_path / "logs").info("hello")
    assert str(tmp_path / "logs") in (caught.value.where or "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00012345, "0.0001234"),
        (-0.5, "-0.5"),
        (999.94, "999.9"),
        (1000.4, "1000"),
        (-48677.2, "-48677"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_numbers_for_people(value: float, text: str):
    """Numbers are whole from 1,000 on and have four digits below."""
    assert format_number(value) == text


def test_now_knows_its_zone():
    """The time has a zone, so that records from two places can be put in order."""
    assert re.search(r"[+-]\d\d:\d\d$", now().isoformat())
