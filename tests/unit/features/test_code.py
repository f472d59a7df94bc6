"""Facts about Python files that are imported under the name of their content."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelbook.errors import ConfigError
from modelbook.features.code import class_names, content_name, load_class, load_code


def write(folder: Path, text: str, name: str = "features.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_module_is_named_after_its_content(tmp_path):
    """The name is the stem and twelve digits of the hash, and `sys.modules` has it."""
    path = write(tmp_path, "named = 1\n")
    module = load_code(path)
    assert module.__name__ == content_name(b"named = 1\n", "features")
    assert sys.modules[module.__name__] is module
    assert module.__file__ == str(path)


def test_two_versions_live_side_by_side(tmp_path):
    """A changed file is another module, and the first one keeps its code."""
    path = write(tmp_path, "x = 1\n")
    first = load_code(path)
    path.write_text("x = 2\n")
    second = load_code(path)
    assert (first.x, second.x) == (1, 2)
    assert first.__name__ != second.__name__


def test_no_thread_is_given_half_a_module(tmp_path):
    """Threads that load the same file at once all get the whole module, executed once."""
    path = write(tmp_path, "import time\ntime.sleep(0.2)\nlast = []\n")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_code(path).last, range(4)))
    assert all(one is found[0] for one in found)


def test_the_same_content_is_executed_once(tmp_path):
    """Loading twice, even from another place, gives the same module."""
    (tmp_path / "other").mkdir()
    assert load_code(write(tmp_path, "x = []\n")) is load_code(write(tmp_path / "other", "x = []\n"))


def test_a_file_that_bears_its_content_name_keeps_it(tmp_path):
    """The copy beside a stored model is the module that the model names."""
    module = load_code(write(tmp_path, "x = 3\n"))
    copy = write(tmp_path, "x = 3\n", f"{module.__name__}.py")
    assert load_code(copy) is module


def test_nothing_is_left_beside_the_file(tmp_path):
    """No bytecode is written: it would be told apart by times."""
    load_code(write(tmp_path, "x = 4\n"))
    assert [path.name for path in tmp_path.iterdir()] == ["features.py"]


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("x = 1\ny = (\n", 2, "SyntaxError"),
        ("x = 1\n\nraise ValueError('no')\n", 3, "ValueError"),
        ("def f():\n    return 1 / 0\nf()\n", 2, "ZeroDivisionError"),
        ("import no_such_module_anywhere\n", 1, "ModuleNotFoundError"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(tmp_path, text, line, name):  # noqa: PLR0917
    """The error has the file, the line and what Python said; the exit code is 2."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_code(path)
    assert caught.value.where == f"{path}:{line}"
    assert caught.value.mistakes[0].startswith(f"line {line}: {name}")
    assert caught.value.exit_code == 2
    assert content_name(text.encode(), "features") not in sys.modules


def test_a_missing_file_is_a_mistake_of_the_settings(tmp_path):
    """The path is named."""
    with pytest.raises(ConfigError, match=r"features\.py cannot be read") as caught:
        load_code(tmp_path / "features.py")
    assert caught.value.where == str(tmp_path / "features.py")


def test_a_missing_class_names_those_that_exist(tmp_path):
    """The nearest one is proposed."""
    path = write(tmp_path, "from pathlib import Path\nclass Rooms: ...\nclass Other: ...\n")
    with pytest.raises(ConfigError) as caught:
        load_class(path, "Roms", setting="features.custom")
    assert caught.value.mistakes == ("features.custom: no class Roms; its classes are Other, Rooms",)
    assert caught.value.hint == "did you mean Rooms?"


def test_classes_are_those_that_the_file_defines(tmp_path):
    """Imported ones are not listed."""
    module = load_code(write(tmp_path, "from pathlib import Path\nclass Rooms: ...\n"))
    assert class_names(module) == ("Rooms",)
    assert load_class(Path(str(module.__file__)), "Rooms", setting="features.custom") is module.Rooms
