"""An environment with exactly the recorded packages, built by uv from wheels that lie in a folder."""

import base64
import hashlib
import subprocess
import zipfile

import pytest

import modelbook
from modelbook.errors import NotFoundError
from modelbook.logs import PipelineLogger
from modelbook.pipeline.reproduction.environment import recorded_python
from modelbook.tracking.lineage import packages_hash, read_environment

LOG = PipelineLogger("test")


def write_wheel(folder, name, version):
    """Write a wheel of one module, as a build would."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{path},sha256={_hash(text)},{len(text)}" for path, text in files.items()]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,", ""]))


def _hash(text):
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.fixture(autouse=True)
def wheels(tmp_path, monkeypatch):
    """Lay down a folder of wheels that is all that uv may install from."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "brick", "1.0")
    write_wheel(folder, "brick", "2.0")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def environment_with(packages):
    now = read_environment()
    return now.model_copy(update={"packages": packages, "sha256": packages_hash(now.python, packages)})


def test_exactly_the_recorded_packages(caplog):
    """The recorded version is installed though a later one is there, Modelbook with it; built once."""
    recorded = environment_with({"brick": "1.0", "modelbook": modelbook.__version__})
    with caplog.at_level("INFO", logger="modelbook"):
        first, second = (recorded_python(recorded, log=LOG) for _ in range(2))
    assert first == second
    assert sum("building the recorded environment" in message for message in caplog.messages) == 1
    code = "import brick, importlib.metadata as m, modelbook; print(brick.version, m.version('modelbook'))"
    words = [str(first), "-I", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.0", modelbook.__version__]


def test_a_version_that_is_nowhere():
    """A recorded version that no index has is an error that names it: exit 5."""
    recorded = environment_with({"brick": "3.0", "modelbook": modelbook.__version__})
    with pytest.raises(NotFoundError, match="cannot be built") as caught:
        recorded_python(recorded, log=LOG)
    assert "brick==3.0" in caught.value.got
    assert "UV_FIND_LINKS" in caught.value.hint


def test_another_modelbook_comes_from_the_index():
    """A recorded version of Modelbook that is not the one that runs is installed like any package."""
    with pytest.raises(NotFoundError) as caught:
        recorded_python(environment_with({"modelbook": "99.0"}), log=LOG)
    assert "modelbook==99.0" in caught.value.got
