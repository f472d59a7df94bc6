"""What lies in examples/deployment, as far as it can be held to what it says without an engine."""

import re
from pathlib import Path

import orjson
import pytest
from ruamel.yaml import YAML

from modelbook.config import load_config
from modelbook.errors import UsageError
from modelbook.serving.address import check_address

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples/deployment"


@pytest.fixture(scope="module")
def compose():
    return YAML(typ="safe").load(FOLDER / "compose.yaml")


@pytest.fixture(scope="module")
def instructions():
    """The instructions of the Dockerfile, each with its words."""
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


def test_every_instruction_is_one(instructions):
    """Each line of the Dockerfile is a whole instruction, and it ends with how the server begins."""
    known = {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "CMD"}
    assert {name for name, _ in instructions} == known
    assert not [words for _, words in instructions if words.endswith("\\")]
    assert orjson.loads(instructions[-1][1]) == ["modelbook", "serve"]
    assert "USER" in dict(instructions), "the server does not run as root"


def test_what_is_copied_is_there(instructions):
    """Every file that goes into the image is in the repository."""
    copied = [words.split()[:-1] for name, words in instructions if name == "COPY" and "--from" not in words]
    assert copied
    for path in (path for paths in copied for path in paths):
        assert (ROOT / path).exists()


def test_uv_is_the_one_that_the_project_is_built_with(instructions):
    """The image installs with the version of uv that the Makefile names."""
    version = re.search(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text())[1]
    assert any(words.endswith(f" uv=={version}") for name, words in instructions if name == "RUN")


def test_services_refer_to_what_there_is(compose):
    """Services wait for services that there are, mount volumes that are declared, and are built from here."""
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        named = [volume.partition(":")[0] for volume in service.get("volumes", ())]
        assert {name for name in named if not name.startswith(".")} <= set(compose["volumes"])
        if build := service.get("build"):
            assert (FOLDER / build["context"]).resolve() == ROOT
            assert (ROOT / build["dockerfile"]).is_file()
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"


def test_the_server_has_longer_to_leave_than_it_takes(compose):
    """The engine waits longer for the server than the server takes to leave."""
    assert compose["services"]["server"]["stop_grace_period"] == "15s"


def test_what_ends_in_the_container_is_taken_leave_of(compose):
    """Processes start others: the first one of a container is the parent of what they leave behind."""
    assert compose["services"]["server"]["init"] is True


def test_the_database_is_asked_where_others_ask_it(compose):
    """While PostgreSQL lays the database down a first server answers at its socket, and then ends."""
    asked = compose["services"]["database"]["healthcheck"]["test"]
    assert asked[asked.index("--host") + 1] == "127.0.0.1"


def test_what_numba_compiles_outlives_the_container(instructions):
    """It is kept on the volume: a new container compiles nothing anew."""
    (volume,) = (words for name, words in instructions if name == "VOLUME")
    assert any(
        words.startswith(f"NUMBA_CACHE_DIR={volume}/") for name, words in instructions if name == "ENV"
    )


def test_the_server_does_not_begin_without_a_key(compose):
    """The settings are good, and nobody serves the whole network without a key by accident."""
    config = load_config(FOLDER)
    port = compose["services"]["server"]["ports"][0].partition(":")[2]
    assert (config.serving.host, config.serving.port) == ("0.0.0.0", int(port))  # noqa: S104 (what is asked for)
    with pytest.raises(UsageError, match="without API keys"):
        check_address(config.serving)
