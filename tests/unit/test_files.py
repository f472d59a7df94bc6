import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest

from modelbook.errors import StorageError
from modelbook.files import file_hash, link_or_copy, storage_errors, whole_file, write_whole

FULL = Path("/dev/full")


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """Return a folder that may not be written to; the superuser, who may, becomes nobody meanwhile."""
    user = os.geteuid()
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        yield folder
        os.seteuid(user)
        folder.chmod(0o755)


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_half(path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(b"ne")
        raise ZeroDivisionError


def test_file_appears_whole(tmp_path: Path):
    """While a file is written the former one stays; afterwards nothing lies beside the new one."""
    path = tmp_path / "deep" / "a.txt"
    write_whole(path, b"old")
    with whole_file(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_failure_leaves_the_former_file(tmp_path: Path):
    """An exception while writing leaves the former file and nothing else."""
    path = tmp_path / "a.txt"
    write_whole(path, b"old")
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_while_writing(tmp_path: Path):
    """A process that is killed while it writes leaves the former file under its name."""
    path = tmp_path / "a.txt"
    write_whole(path, b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from modelbook.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'ne'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert [other.suffix for other in tmp_path.iterdir() if other != path] == [".part"]


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_full_disk(tmp_path: Path):
    """A full disk is a StorageError that says what to do, and the former file stays."""
    path = tmp_path / "a.txt"
    write_whole(path, b"old")
    with pytest.raises(StorageError) as caught, whole_file(path):
        FULL.write_bytes(b"new")
    assert caught.value.where == str(path)
    assert caught.value.got == "No space left on device"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("free some space")
    assert caught.value.exit_code == 1
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_full_disk_as_polars_says_it(tmp_path: Path):
    """A full disk is the same StorageError where the library that writes has the number in its text alone."""
    with pytest.raises(StorageError, match="cannot be written"), storage_errors(tmp_path / "a.csv"):
        pl.DataFrame({"a": range(100_000)}).write_csv(FULL)


def test_closed_folder(closed_folder: Path):
    """A folder that may not be written to is a StorageError that says so."""
    with pytest.raises(StorageError) as caught:
        write_whole(closed_folder / "a.txt", b"new")
    assert caught.value.got == "Permission denied"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("give yourself write permission")


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("file/a.txt", "File exists"),
        ("file/deep/a.txt", "Not a directory"),
        ("folder", "Is a directory"),
        ("x" * 256, "File name too long"),
    ],
)
def test_impossible_places(tmp_path: Path, name: str, got: str):
    """What stands in the way of a file is named, and nothing is left behind."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError) as caught:
        write_whole(tmp_path / name, b"new")
    assert caught.value.got == got
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


def test_other_errors_stay(tmp_path: Path):
    """What is no fault of the place is passed on as it is."""
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a"):
        (tmp_path / "absent").read_bytes()
    error = OSError(errno.EIO, "broken")
    with pytest.raises(OSError, match="broken") as caught, storage_errors(tmp_path):
        raise error
    assert caught.value is error


def test_longest_name(tmp_path: Path):
    """A name may be as long as the file system takes it."""
    path = tmp_path / ("é" * 127)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.usefixtures("umask")
def test_new_files_keep_to_the_umask(tmp_path: Path):
    """A new file has the permissions that any new file gets."""
    write_whole(tmp_path / "a", b"new")
    assert mode(tmp_path / "a") == 0o640


@pytest.mark.parametrize(("former", "then"), [(0o600, 0o600), (0o664, 0o664), (0o444, 0o644)])
def test_permissions_stay(tmp_path: Path, former: int, then: int):
    """A file that is replaced keeps its permissions, but for its owner's right to write."""
    path = tmp_path / "secret.yaml"
    path.write_bytes(b"old")
    path.chmod(former)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == then


def test_symbolic_links_are_replaced(tmp_path: Path):
    """Nothing is written through a symbolic link: it may lead into DVC's cache."""
    cached = tmp_path / "cached"
    cached.write_bytes(b"old")
    (tmp_path / "a").symlink_to(cached)
    write_whole(tmp_path / "a", b"new")
    assert cached.read_bytes() == b"old"
    assert not (tmp_path / "a").is_symlink()


def test_many_writers(tmp_path: Path):
    """Whoever is last wins, whole, and no writer disturbs another."""
    path = tmp_path / "a"
    contents = [bytes([number]) * 100_000 for number in range(8)]
    writers = [threading.Thread(target=write_whole, args=(path, content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_linked(tmp_path: Path):
    """A second place shares the bytes of the first, and replacing one leaves the other."""
    source, second = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_bytes(b"one")
    link_or_copy(source, second)
    assert second.samefile(source)
    write_whole(source, b"two")
    assert second.read_bytes() == b"one"
    link_or_copy(source, second)
    assert second.read_bytes() == b"two"
    assert list(second.parent.iterdir()) == [second]


def test_linked_to_itself(tmp_path: Path):
    """A file whose second place is its first, or shares it already, stays."""
    source = tmp_path / "a"
    source.write_bytes(b"one")
    link_or_copy(source, tmp_path / "b")
    for destination in (source, tmp_path / "b"):
        link_or_copy(source, destination)
        assert destination.read_bytes() == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_linked_from_a_symbolic_link(tmp_path: Path):
    """The second place of a symbolic link has the content, wherever it lies."""
    (tmp_path / "cached").write_bytes(b"one")
    (tmp_path / "a").symlink_to("cached")
    link_or_copy(tmp_path / "a", tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").read_bytes() == b"one"


def test_copied_where_links_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the file system has no links the second place is a copy."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_bytes(b"one")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"one"
    assert not (tmp_path / "b").samefile(tmp_path / "a")


def test_absent_source_costs_nothing(tmp_path: Path):
    """Where there is nothing to link, what is in the second place stays."""
    (tmp_path / "b").write_bytes(b"one")
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"one"


@pytest.mark.parametrize("content", [b"", b"a\r\nb\n", bytes(range(256)) * 9000])
def test_hash_is_dvcs(tmp_path: Path, content: bytes):
    """With md5 the hash of a file is the one that DVC records, line ends and all."""
    from dvc_data.hashfile.hash import hash_file
    from dvc_objects.fs.local import LocalFileSystem

    path = tmp_path / "a.csv"
    path.write_bytes(content)
    _, info = hash_file(str(path), LocalFileSystem(), "md5")
    assert file_hash(path, "md5") == info.value


def test_hash_of_bytes(tmp_path: Path):
    """Without further words the hash is SHA-256."""
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a").startswith("ba7816bf8f01cfea")
