"""Rows and predictions kept as Parquet."""

import logging
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from modelbook.config import PredictionLogConfig
from modelbook.serving import predictionlog
from modelbook.serving.answers import Answer
from modelbook.serving.predictionlog import Kept, PredictionLog, as_table

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def request(number=2, version="1", *, with_probabilities=False, identity="a") -> Kept:
    rows = {
        "rooms": np.array([3.0, np.nan] * (number // 2)),
        "zone": np.array(["a", None] * (number // 2), dtype=object),
        "time": np.array(["2020-01-31", "NaT"] * (number // 2), dtype="datetime64[us]"),
    }
    probabilities = np.full((number, 2), 0.5) if with_probabilities else None
    predictions = np.array(["no", "yes"] * (number // 2), dtype=object)
    return Kept(MOMENT, identity, "houses", version, rows, Answer(predictions, probabilities))


@pytest.fixture
def open_log(tmp_path):
    """Return a function that opens a log into a folder of the test, and what was dropped."""
    dropped = []

    def start(folder=None, **settings):
        log = PredictionLog(
            folder or tmp_path / "log", PredictionLogConfig(**settings), on_dropped=dropped.append
        )
        log.start()
        return log, dropped

    return start


def files(folder: Path) -> list[pl.DataFrame]:
    return [pl.read_parquet(path) for path in sorted(folder.glob("*.parquet"))]


def test_what_was_asked_and_answered_is_kept(open_log, tmp_path) -> None:
    """Each row has its request, its version, its values and its prediction."""
    log, dropped = open_log()
    log.keep(request())
    log.keep(request(identity="b"))
    log.end()
    (table,) = files(tmp_path / "log")
    assert table.to_dicts()[1] == {
        "time": MOMENT.replace(tzinfo=None),
        "request_id": "a",
        "model": "houses",
        "version": "1",
        "rooms": None,
        "zone": None,
        "time_2": None,
        "prediction": "yes",
    }
    assert table["request_id"].to_list() == ["a", "a", "b", "b"]
    assert table["time_2"][0] == datetime(2020, 1, 31)  # noqa: DTZ001 (times of tables have no zone)
    assert not dropped


def test_a_file_is_of_one_version(open_log, tmp_path) -> None:
    """A version may have other columns, and not everybody asks for probabilities."""
    log, _ = open_log()
    for kept in (request(), request(version="2"), request(version="2", with_probabilities=True)):
        log.keep(kept)
    log.end()
    tables = files(tmp_path / "log")
    assert [table["version"][0] for table in tables] == ["1", "2", "2"]
    assert tables[2]["probabilities"].to_list() == [[0.5, 0.5]] * 2


def test_requests_of_two_kinds_in_turns_fill_two_files(open_log, tmp_path) -> None:
    """Who asks for probabilities between others makes no file of each request; each kind keeps its order."""
    log, _ = open_log()
    for number in range(10):
        log.keep(request(identity=str(number), with_probabilities=number % 2 == 1))
    log.end()
    assert [table["request_id"].to_list()[::2] for table in files(tmp_path / "log")] == [
        ["0", "2", "4", "6", "8"],
        ["1", "3", "5", "7", "9"],
    ]


def test_an_old_file_that_cannot_go_is_no_loss(open_log, tmp_path, *, monkeypatch, caplog) -> None:
    """What was written is not counted as dropped; the folder is looked through once for many files."""
    looks = []

    def fail(_):
        looks.append(1)
        raise PermissionError

    monkeypatch.setattr(predictionlog.PredictionLog, "_clear", fail)
    log, dropped = open_log(rows_per_file=2)
    for _ in range(5):
        log.keep(request())
    log.end()
    assert not dropped
    assert len(files(tmp_path / "log")) == 5
    assert len(looks) == 1
    assert "old predictions cannot be removed: PermissionError" in caplog.text


def test_what_a_stop_leaves_unwritten_is_counted(open_log, monkeypatch, caplog) -> None:
    """A disk that is slower than a stop may take loses rows, and the log says how many."""
    monkeypatch.setattr(predictionlog.PredictionLog, "_write", lambda *_: time.sleep(0.5))
    log, dropped = open_log()
    log.keep(request())
    log.keep(request(version="2"))
    log.end(timeout_s=0.1)
    assert dropped == [4]
    assert "predictions of 4 rows were not written in time" in caplog.text


def test_a_file_is_closed_when_it_is_full_or_late(open_log, tmp_path) -> None:
    """Neither few rows nor many are waited for."""
    log, _ = open_log(rows_per_file=4)
    for _ in range(4):
        log.keep(request())
    until = time.monotonic() + 5
    while len(files(tmp_path / "log")) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert [len(table) for table in files(tmp_path / "log")] == [4, 4]
    log.end()
    late, _ = open_log(tmp_path / "late", seconds_per_file=0.1)
    late.keep(request())
    until = time.monotonic() + 5
    while not files(tmp_path / "late") and time.monotonic() < until:
        time.sleep(0.05)
    assert files(tmp_path / "late")
    late.end()


def test_what_has_no_place_is_dropped_and_counted(open_log, tmp_path) -> None:
    """A slow disk holds up no answer."""
    log, dropped = open_log(max_waiting_rows=5)
    for _ in range(4):
        log.keep(request())
    log.end()
    assert dropped == [2, 2]
    assert sum(map(len, files(tmp_path / "log"))) == 4


def test_a_full_disk_drops_and_goes_on(open_log, tmp_path, *, monkeypatch, caplog) -> None:
    """What cannot be written is counted, said once, and what can be written later is written."""
    log, dropped = open_log(rows_per_file=2)
    written = predictionlog.PredictionLog._write
    failures = iter([OSError(28, "full"), OSError(28, "full")])

    def fail_twice(self, batch):
        if error := next(failures, None):
            raise error
        written(self, batch)

    monkeypatch.setattr(predictionlog.PredictionLog, "_write", fail_twice)
    with caplog.at_level(logging.ERROR, logger="modelbook"):
        for _ in range(3):
            log.keep(request())
        log.end()
    assert dropped == [2, 2]
    assert caplog.text.count("cannot be kept") == 1
    assert sum(map(len, files(tmp_path / "log"))) == 2


def test_the_oldest_files_go(open_log, tmp_path) -> None:
    """All files take no more than they may; the newest always stays."""
    (tmp_path / "log").mkdir()
    other = tmp_path / "log" / "mine.parquet"
    other.write_bytes(b"x" * 10_000)
    log, _ = open_log(rows_per_file=2, max_mb=0.004)
    for number in range(6):
        log.keep(request(identity=str(number)))
    log.end()
    other.rename(tmp_path / "mine.parquet")
    kept = [table["request_id"][0] for table in files(tmp_path / "log")]
    assert 0 < len(kept) < 6
    assert kept == [str(number) for number in range(6)][-len(kept) :]


def test_a_folder_that_cannot_be_written_is_no_failure(open_log, tmp_path) -> None:
    """A server answers on whatever the folder is."""
    (tmp_path / "file").write_text("")
    log, dropped = open_log(tmp_path / "file")
    log.keep(request())
    log.end()
    assert dropped == [2]


def test_many_processes_write_side_by_side(open_log, tmp_path, monkeypatch) -> None:
    """Each worker has names of its own."""
    for pid in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        monkeypatch.setattr(predictionlog, "now", lambda: MOMENT + timedelta(0))
        log, _ = open_log()
        log.keep(request())
        log.end()
    assert len(files(tmp_path / "log")) == 2


def test_requests_without_rows_are_not_kept(tmp_path) -> None:
    """However many there are, nothing waits."""
    log = PredictionLog(tmp_path, PredictionLogConfig())
    log.keep(request(0))
    assert not log._waiting


def test_long_texts_are_bounded(open_log, tmp_path, *, monkeypatch) -> None:
    """A few rows of much text have no more place than the text may take, and later ones have it again."""
    monkeypatch.setattr(predictionlog, "_MOST_TEXT", 3)
    log, dropped = open_log()
    for _ in range(2):
        log.keep(request(4))
    until = time.monotonic() + 5
    while log._text and time.monotonic() < until:
        time.sleep(0.05)
    log.keep(request(4))
    log.end()
    assert dropped == [4]
    assert sum(map(len, files(tmp_path / "log"))) == 8


def test_a_column_of_gaps_stays_one_of_text() -> None:
    """Files of one version can be read together."""
    kept = request()
    kept.rows["zone"][:] = None
    assert str(as_table([kept]).schema.field("zone").type) == "string"


def test_a_file_that_another_worker_removed_is_no_failure(open_log, tmp_path) -> None:
    """What was written is not counted as dropped."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "predictions_1.parquet").symlink_to("gone")
    log, dropped = open_log()
    log.keep(request())
    log.end()
    assert not dropped
