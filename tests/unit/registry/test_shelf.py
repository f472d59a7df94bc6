import os
import threading
from datetime import UTC, datetime

import pytest

from modelbook.config import load_config
from modelbook.errors import StorageError
from modelbook.registry.reference import Reference
from modelbook.registry.shelf import Remembered, Shelf

HOUSES = Reference("houses", None, "production")


@pytest.fixture
def shelf(tmp_path):
    return Shelf(load_config({}).at(tmp_path))


def put(shelf, *digests):
    """Put bundles on the shelf, one after the other."""
    for age, digest in enumerate(digests):
        folder = shelf.bundle(digest)
        folder.mkdir(parents=True)
        (folder / "bundle.json").write_text("{}")
        os.utime(folder, (age, age))


def note(digest, day=22):
    return Remembered(
        name="houses",
        version="3",
        digest=digest,
        alias="production",
        server="a1",
        moment=datetime(2026, 11, day, tzinfo=UTC),
    )


def names(folders):
    return [folder.name for folder in folders]


def test_what_answered_last_is_remembered(shelf):
    """Each reference has its own note; one that cannot be read is none."""
    put(shelf, "d1")
    assert shelf.recall(HOUSES) is None
    shelf.remember(HOUSES, note("d1"))
    assert shelf.recall(HOUSES) == note("d1")
    assert shelf.recall(Reference("houses", None, "staging")) is None
    assert shelf.recall(Reference("houses", "3", None)) is None
    next(shelf.folder.glob("*.json")).write_text("{")
    assert shelf.recall(HOUSES) is None


def test_the_newest_few_bundles_stay(shelf):
    """Beyond the newest few the oldest bundles go, but for those that a reference or the caller needs."""
    put(shelf, "d1", "d2", "d3", "d4", "d5")
    assert names(shelf.old_bundles()) == ["d1", "d2"]
    shelf.remember(HOUSES, note("d1"))
    shelf.clear(besides=["d2"])
    assert sorted(names(shelf.folder.glob("bundles/*"))) == ["d1", "d2", "d4", "d5"]
    shelf.clear(0)
    assert names(shelf.folder.glob("bundles/*")) == ["d1"]


def test_old_references_keep_no_bundles(shelf):
    """What answered to references that were served long ago goes, but for what is served now."""
    digests = [f"d{day}" for day in range(1, 14)]
    put(shelf, *digests)
    for day, digest in reversed(list(enumerate(digests, 1))):
        shelf.remember(Reference("houses", str(day), None), note(digest, day))
    for age, digest in enumerate(digests):
        os.utime(shelf.bundle(digest), (age, age))
    assert names(shelf.old_bundles(keep=0)) == ["d1", "d2", "d3"]
    shelf.clear(0, besides=["d2"])
    assert len(names(shelf.folder.glob("bundles/*"))) == 11
    assert shelf.bundle("d2").is_dir()


def test_what_was_killed_is_cleared_away(shelf):
    """A bundle that a killed process was making is none, and goes with the next clearing."""
    put(shelf, "d1", ".0123456789abcdef.part")
    assert names(shelf.unfinished()) == [".0123456789abcdef.part"]
    assert names(shelf.old_bundles(0)) == ["d1"]
    shelf.clear()
    assert sorted(names(shelf.folder.glob("bundles/*"))) == ["d1"]
    assert shelf.unfinished() == []


def test_names_are_no_paths(shelf):
    """A model may have any name: its note stays in the folder."""
    put(shelf, "d1")
    reference = Reference("../o'brien & söhne", None, "production")
    shelf.remember(reference, note("d1"))
    assert shelf.recall(reference) == note("d1")
    assert [path.parent for path in shelf.folder.rglob("*.json") if "bundles" not in path.parts] == [
        shelf.folder
    ]


def test_one_process_at_a_time(shelf):
    """Whoever makes or removes bundles is alone with it."""
    inside = []

    def enter():
        with shelf.alone():
            inside.append(1)

    other = threading.Thread(target=enter)
    with shelf.alone():
        other.start()
        other.join(0.2)
        assert not inside
    other.join()
    assert inside


def test_a_folder_that_cannot_be_written(read_only_folder):
    """A project on a read-only file system has no shelf."""
    with pytest.raises(StorageError), Shelf(load_config({}).at(read_only_folder)).alone():
        pass
