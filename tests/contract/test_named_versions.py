"""Which version a name means, asked without MLflow: the same of each kind of store."""

import subprocess
import sys

import pytest
from sqlalchemy.exc import DBAPIError

from modelbook.config import load_config
from modelbook.tracking import named
from modelbook.tracking.named import NamedVersion, named_version
from modelbook.tracking.store import open_client


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mlflow_server"])
def config(request, light_project, tmp_path_factory):
    """A project whose model, with a quote in its name, has three versions; the third was withdrawn."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        (folder / "shared.db").write_bytes(request.getfixturevalue("empty_store").read_bytes())
        uri = f"sqlite:///{folder}/shared.db"
    else:
        uri = request.getfixturevalue(request.param)
    config = load_config(light_project(folder / "project", uri=uri, name=f"o'brien {folder.name}"))
    client, name = open_client(config), config.tracking.model_name
    client.set_registered_model_alias(name, "production", "1")
    client.delete_model_version(name, "3")
    return config


def test_an_alias_names_a_version(config):
    """The version that an alias names comes with its digest; an alias that names none gives none."""
    name = config.tracking.model_name
    assert named_version(config, name, alias="production") == NamedVersion("1", "digest1")
    assert named_version(config, name, alias="staging") is None


def test_a_number_or_the_newest(config):
    """Without an alias it is the version of a number, or the newest that was not deleted."""
    name = config.tracking.model_name
    assert named_version(config, name) == NamedVersion("2", "digest2")
    assert named_version(config, name, version="1") == NamedVersion("1", "digest1")
    for version in ("3", "77", "v_20261122_101112"):
        assert named_version(config, name, version=version) is None


def test_a_model_that_is_not_there(config):
    """A name that nobody registered has no versions of any kind."""
    for asked in ({}, {"alias": "production"}, {"version": "1"}):
        assert named_version(config, "nobody", **asked) is None


def test_a_question_has_limits(postgresql):
    """A database that takes too long over an answer ends it itself, and one that is cut off is noticed."""
    with named._asking(postgresql) as (ask, _):
        assert ask("SHOW statement_timeout", {}) == "4s"
        with pytest.raises(DBAPIError, match="statement timeout"):
            ask("SET LOCAL statement_timeout = 50; SELECT pg_sleep(20)", {})


def test_asking_imports_no_mlflow(config):
    """Asking needs none of MLflow, scikit-learn and pandas."""
    script = (
        "import sys; from pathlib import Path; from modelbook.config import load_config;"
        "from modelbook.tracking.named import named_version as ask;"
        "config = load_config(Path(sys.argv[1]));"
        "print(ask(config, config.tracking.model_name, alias='production').version,"
        " sorted({'mlflow', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", script, str(config.root)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 []"
