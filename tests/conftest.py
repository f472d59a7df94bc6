"""What every test stands on: its own environment, loopback as the only network, and the command line."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

Cli = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests, and every process that they start, an environment that no machine's settings reach.

    This happens before anything is imported: MLflow and DVC read some of these once, on import.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    home = tempfile.TemporaryDirectory(prefix="modelbook-home-")
    config.add_cleanup(home.cleanup)
    for name in filter(_reaches_in, tuple(os.environ)):
        del os.environ[name]
    os.environ.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # without bytecode every process starts three times slower
    os.environ |= {
        "HOME": home.name,
        "XDG_CACHE_HOME": cache,  # fonts for matplotlib and wheels: costly to make, the same for every run
        "XDG_CONFIG_HOME": f"{home.name}/.config",
        "GIT_AUTHOR_NAME": "Ada Example",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada Example",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": f"{home.name}/dvc",
        "DVC_SYSTEM_CONFIG_DIR": f"{home.name}/dvc",
        "DVC_SITE_CACHE_DIR": f"{home.name}/dvc",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "agg",
    }


def _reaches_in(variable: str) -> bool:
    return variable.startswith(("MLFLOW_", "DVC_", "GIT_"))


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection of the test's own process that leaves the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: tuple[object, ...] | str | bytes) -> None:
        is_local = self.family == socket.AF_UNIX or str(address[0]) in {"127.0.0.1", "::1", "localhost"}
        if not is_local:
            self.close()
            pytest.fail(f"a test reached for the network: {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def same_directory() -> Iterator[None]:
    """Come back to the folder that the test began in."""
    start = Path.cwd()
    yield
    os.chdir(start)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data that lies beside the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there is no ../shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def run_cli() -> Cli:
    """Return a function that runs `modelbook` with arguments, in a folder, as a user would."""

    def run(
        *arguments: str | Path,
        cwd: Path,
        env: dict[str, str] | None = None,
        timeout_s: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "modelbook", *map(str, arguments)],
            cwd=cwd,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run
