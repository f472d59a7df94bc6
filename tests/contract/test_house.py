"""The rules of the house that import-linter does not see."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "modelbook"
MODULES = [str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py"))]
MAX_LINES = 400
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
HEAVY = {"mlflow", "sklearn", "pandas"}


def layers() -> set[str]:
    """Return the names of the layers that import-linter is given."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    ordered = next(contract for contract in settings["contracts"] if contract["type"] == "layers")
    return {name.strip() for layer in ordered["layers"] for name in layer.split("|")}


def imports_from_the_root(path: Path) -> Iterator[str]:
    """Yield the names that a module takes from `modelbook` itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "modelbook" and not node.level:
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_belongs_to_a_layer(module: str) -> None:
    """A module is in one of the ordered rooms, or is one of the two doors of the package."""
    room = Path(module).parts[0].removesuffix(".py")
    assert room in layers() | {"__init__", "__main__"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_named_for_one_thing(module: str) -> None:
    """A name like `utils` says nothing of what is inside."""
    assert not VAGUE_NAMES & {part.removesuffix(".py") for part in Path(module).parts}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_read_in_one_sitting(module: str) -> None:
    """A module has at most 400 lines."""
    assert len((PACKAGE / module).read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", [module for module in MODULES if module != "__init__.py"])
def test_rooms_do_not_go_round_through_the_front_door(module: str) -> None:
    """The nouns in `modelbook` are for users: a room imports from the room that has them."""
    own = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    assert set(imports_from_the_root(PACKAGE / module)) <= own | {"__version__"}


@pytest.mark.parametrize("words", [["-c", "import modelbook"], ["-m", "modelbook", "--help"]])
def test_starting_is_light(words: list[str], tmp_path: Path) -> None:
    """Neither importing the package nor asking for help loads MLflow, scikit-learn or pandas."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "modelbook" in loaded
    assert not HEAVY & loaded
