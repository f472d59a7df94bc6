"""What the Dockerfile and the compose file run, run here: installed, and served out of PostgreSQL."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
import pytest
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples/deployment"
PREFIX = "/opt/modelbook"
EVERYWHERE = "0.0.0.0"  # noqa: S104 (nothing is bound to it)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment that the first stage of the Dockerfile makes, at another place."""
    folder = tmp_path_factory.mktemp("image")
    first, _, _ = (FOLDER / "Dockerfile").read_text().partition("\nFROM python:3.11-slim-bookworm\n")
    for line in first.splitlines():
        name, _, words = line.partition(" ")
        if name == "COPY":
            *paths, place = words.split()
            for path in paths:
                copy(ROOT / path, folder / "source" / place / (path if place == "./" else ""))
        elif name == "WORKDIR":
            (folder / "source").mkdir()
        elif name == "RUN":
            command = words.replace(PREFIX, f"{folder}{PREFIX}")
            subprocess.run(command, shell=True, cwd=folder / "source", check=True)  # noqa: S602 (our own words)
    return f"{folder}{PREFIX}/bin"


def copy(source, destination):
    if source.is_dir():
        shutil.copytree(source, destination, dirs_exist_ok=True)
    else:
        shutil.copy(source, destination)


@contextmanager
def running(command, url, *, cwd, env):
    """Run a command until it answers at an address, and end it as an engine does."""
    process = subprocess.Popen(command, cwd=cwd, env=env, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not answers(url):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        assert process.wait(20) in {0, 143, -15}


def answers(url):
    with suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 (loopback)
        return True
    return False


def test_from_postgresql_to_an_answer(installed, postgresql, *, small, tmp_path):
    """The commands of the compose file, at ports of this machine, serve what a project has promoted."""
    services = YAML(typ="safe").load(FOLDER / "compose.yaml")["services"]
    env = os.environ | {"PATH": f"{installed}:{os.environ['PATH']}"}
    store = {"MLFLOW_BACKEND_STORE_URI": postgresql.replace("postgresql:", "postgresql+psycopg:")}
    artifacts = {"/srv/model/models/artifacts": str(tmp_path / "files")}
    at = {EVERYWHERE: "127.0.0.1", "5000": str(free())} | artifacts
    command = [at.get(word, word) for word in services["tracking"]["command"]]
    address = f"http://127.0.0.1:{at['5000']}"
    tracking = {**services["tracking"]["environment"], **store}
    command[-1] += f",127.0.0.1:{at['5000']}"
    with running(command, f"{address}/health", cwd=tmp_path, env=env | tracking):
        asked = urllib.request.Request(  # noqa: S310 (loopback)
            f"{address}/api/2.0/mlflow/experiments/get?experiment_id=0", headers={"Host": "tracking:5000"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
            assert answer.status == 200
        project = small.copy(tmp_path / "houses")
        project.set({"tracking.uri": address, "tracking.model_name": "model"})
        project.run()
        project.modelbook("promote", "model", "1", "--to", "production", "--force", "--reason", "the first")
        serve(services["server"], env | {"MLFLOW_TRACKING_URI": address}, tmp_path / "server")


def serve(service, env, folder):
    """Serve as the compose file does, with a key, on loopback, and ask for a prediction."""
    shutil.copytree(FOLDER / "config", folder / "config")
    made = subprocess.run(
        ["modelbook", "--json", "serve", "--new-key"], env=env, capture_output=True, check=True, cwd=folder
    )
    key, port = orjson.loads(made.stdout), str(free())
    path = folder / "config/config.yaml"
    text = path.read_text().replace("api_keys: {}", f'api_keys: {{ann: "{key["hash"]}"}}')
    path.write_text(text.replace(EVERYWHERE, "127.0.0.1").replace("5001", port))
    with running(service["command"], f"http://127.0.0.1:{port}/readyz", cwd=folder, env=env):
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=orjson.dumps({"dataframe_records": [{"area": 100.0}]}),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {key['key']}"},
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
            assert answer.headers["x-modelbook-version"] == "1"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(asked.full_url, data=asked.data, timeout=10)  # noqa: S310


def free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
