"""The outbox: append-only, checksummed, whole after any death of the process."""

import errno
import os
from datetime import UTC, datetime

import pytest
from filelock import Timeout

from modelbook.config import load_config
from modelbook.errors import ModelbookError, StorageError
from modelbook.files import file_hash
from modelbook.tracking.events import (
    ArtifactLogged,
    InputsLogged,
    MetricsLogged,
    ParamsLogged,
    RunEnded,
    RunStarted,
    TagsSet,
)
from modelbook.tracking.outbox import Outbox, is_held_back, outbox_of, waiting, waiting_events

BEGAN = datetime(2026, 11, 21, 9, 5, 7, 123456, tzinfo=UTC)
START = RunStarted(uid="a1", name="forest", experiment="houses", started_at=BEGAN, tags={"größe": "ä\n"})
EVENTS = [
    START,
    ParamsLogged(params={"depth": "3"}),
    MetricsLogged(metrics={"rmse": 1 / 3, "inf": float("inf")}, step=2, timestamp_ms=7),
    TagsSet(tags={"a": "b"}),
    InputsLogged(inputs=()),
    RunEnded(status="FAILED", ended_at=BEGAN),
]


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_config({}, environ={})


@pytest.fixture
def outbox(config):
    """An outbox with events of a run, as a process that ended left it."""
    outbox = outbox_of(config, "a1").hold()
    for event in EVENTS:
        outbox.append(event, {})
    outbox.release()
    return Outbox(outbox.folder)


def lines(outbox):
    return (outbox.folder / "events.jsonl").read_bytes().splitlines(keepends=True)


def write(outbox, content):
    (outbox.folder / "events.jsonl").write_bytes(b"".join(content))


def test_events_come_back(outbox, config):
    """Events come back in their order and as they were, infinities and microseconds included."""
    assert outbox.events() == EVENTS
    assert [found.uid for found in waiting(config)] == ["a1"]
    assert waiting_events(config) == [EVENTS]


@pytest.mark.parametrize("left", [0, 1, 30, -1])
def test_a_torn_last_line_is_cut(outbox, left):
    """What a killed process wrote of its last line does not count, and the next line takes its place."""
    whole = lines(outbox)
    write(outbox, [*whole[:-1], whole[-1][:left]])
    assert outbox.events() == EVENTS[:-1]
    outbox.hold().append(EVENTS[-1], {})
    outbox.release()
    assert lines(outbox) == whole


@pytest.mark.parametrize("number", range(len(EVENTS)))
def test_a_damaged_line_is_named(outbox, number):
    """One flipped bit is refused with file and line, and nothing is appended behind it."""
    content = lines(outbox)
    line = bytearray(content[number])
    line[40] ^= 1
    content[number] = bytes(line)
    write(outbox, content)
    for read in (outbox.events, outbox.hold):
        with pytest.raises(ModelbookError, match="the outbox is damaged") as caught:
            read()
        assert caught.value.where.endswith(f"events.jsonl, line {number + 1}")
    assert lines(outbox) == content
    assert not outbox.is_held


def test_a_missing_line_is_noticed(outbox):
    """A line taken out of the middle, or two in another order, are as good as damaged."""
    content = lines(outbox)
    for wrong in ([*content[:2], *content[3:]], [content[0], content[2], content[1], *content[3:]]):
        write(outbox, wrong)
        with pytest.raises(ModelbookError, match="damaged"):
            outbox.events()


def test_a_line_of_another_version_is_said(config, monkeypatch):
    """A sound line that this Modelbook does not understand is named."""
    outbox = outbox_of(config, "a1").hold()
    outbox.append(START, {})
    monkeypatch.setattr(TagsSet, "model_dump_json", lambda _: '{"kind": "unheard of"}')
    outbox.append(TagsSet(tags={}), {})
    outbox.release()
    with pytest.raises(ModelbookError, match="another Modelbook") as caught:
        outbox.events()
    assert "line 2" in caught.value.where


def test_a_first_line_that_was_never_finished_is_nothing(config):
    """On a disk that was full from the first byte on nothing waits, and the run can begin there anew."""
    path = config.path("logs/outbox/a1/events.jsonl")
    path.parent.mkdir(parents=True)
    for torn in (b"", b"0123456789abcdef {"):
        path.write_bytes(torn)
        outbox = outbox_of(config, "a1")
        assert (outbox.exists, waiting(config)) == (False, [])
        outbox.hold().append(START, {})
        outbox.release()
        assert Outbox(outbox.folder).events() == [START]


@pytest.mark.parametrize("is_written", [True, False])
def test_an_interrupted_append_breaks_no_chain(config, monkeypatch, *, is_written):
    """Interrupted before it writes, or while it waits for the disk, it goes on from what stands there."""
    outbox = outbox_of(config, "a1").hold()
    outbox.append(START, {})

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync" if is_written else "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            outbox.append(EVENTS[1], {})
    outbox.append(EVENTS[-1], {})
    outbox.release()
    middle = [EVENTS[1]] if is_written else []
    assert Outbox(outbox.folder).events() == [START, *middle, EVENTS[-1]]


def test_files_are_kept_once(config, tmp_path):
    """A file is kept by its content, once; a shared one takes no second space, another is a copy."""
    outbox = outbox_of(config, "a1").hold()
    for name, is_shared in (("own.txt", False), ("model.skops", True)):
        source = tmp_path / name
        source.write_text(name)
        event = ArtifactLogged(name=name, folder=None, sha256=file_hash(source))
        for _ in range(2):
            outbox.append(event, {event.sha256: source}, is_shared=is_shared)
        assert outbox.file(event.sha256).samefile(source) == is_shared
        assert outbox.file(event.sha256).read_text() == name
    outbox.release()
    assert len(list((outbox.folder / "files").iterdir())) == 2


def test_a_file_that_goes_on_growing(config, tmp_path):
    """A file that changed since it was hashed is kept and noted by the hash of what was copied of it."""
    log = tmp_path / "train.log"
    log.write_text("epoch 1\n")
    event = ArtifactLogged(name=log.name, folder="logs", sha256=file_hash(log))
    log.write_text("epoch 1\nepoch 2\n")
    outbox = outbox_of(config, "a1").hold()
    outbox.append(event, {event.sha256: log})
    outbox.release()
    (noted,) = outbox.events()
    assert noted == event.model_copy(update={"sha256": file_hash(log)})
    assert outbox.file(noted.sha256).read_text() == "epoch 1\nepoch 2\n"
    assert [path.name for path in (outbox.folder / "files").iterdir()] == [noted.sha256]


def test_one_process_writes(outbox, config):
    """While someone holds it others do not get it, and it does not count as held back."""
    outbox.hold()
    assert not is_held_back(config)
    with pytest.raises(Timeout):
        Outbox(outbox.folder).hold(timeout_s=0)
    assert Outbox(outbox.folder).is_held
    outbox.release()
    assert is_held_back(config)


def test_what_a_store_refused_holds_nothing_back(outbox, config):
    """What a store that answered refused goes on waiting, and keeps no later run from the store."""
    outbox.refuse("no such thing")
    assert outbox.is_refused
    assert not is_held_back(config)
    assert len(waiting(config)) == 1


def test_removed_is_gone(outbox, config):
    """What was delivered is gone at once; what a killed process left of it goes the next time."""
    left = outbox.folder.with_name(".removed-1")
    left.mkdir()
    with outbox.held():
        outbox.remove()
    assert waiting(config) == []
    assert list(config.path("logs/outbox").iterdir()) == []


def test_the_oldest_comes_first(outbox, config):
    """Runs wait in the order in which they began, damaged ones first."""
    for uid, hour in (("c3", 12), ("b2", 8)):
        other = outbox_of(config, uid).hold()
        other.append(START.model_copy(update={"uid": uid, "started_at": BEGAN.replace(hour=hour)}), {})
        other.release()
    assert [found.uid for found in waiting(config)] == ["b2", "a1", "c3"]
    write(outbox, [b"nonsense\n"])
    assert [found.uid for found in waiting(config)] == ["a1", "b2", "c3"]
    assert [events[0].uid for events in waiting_events(config)] == ["b2", "c3"]


def test_a_full_disk_leaves_whole_lines(outbox, monkeypatch):
    """Where a line does not fit on the disk, the file is as it was before."""
    before, write_bytes = lines(outbox), os.write
    answers = iter([20, OSError(errno.ENOSPC, "No space left on device")])

    def write_some(handle, content):
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return write_bytes(handle, content[:answer])

    outbox.hold()
    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(StorageError):
        outbox.append(TagsSet(tags={"a": "c"}), {})
    monkeypatch.undo()
    outbox.release()
    assert lines(outbox) == before
