"""The package as users get it: against the editable install, and by `make test-wheel` the built wheel."""

import subprocess
import sys
from pathlib import Path

import modelbook

SOURCE = Path(__file__).parents[2] / "src" / "modelbook"


def test_the_command_is_installed(tmp_path: Path) -> None:
    """`modelbook` stands beside the interpreter and says its version."""
    command = Path(sys.executable).with_name("modelbook")
    done = subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"modelbook {modelbook.__version__}\n"


def test_nothing_is_left_out_of_the_package() -> None:
    """Each file of the source is installed: templates and example data too, and the mark that it is typed."""
    installed = Path(modelbook.__file__).parent
    files = [path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert files
    assert not [path for path in files if not (installed / path.relative_to(SOURCE)).is_file()]
