from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelbook.config import Config, load_config
from modelbook.errors import NotFoundError, TrackingStoreError
from modelbook.records import ModelVersion
from modelbook.registry import listing
from modelbook.registry.listing import VersionSummary, find_version, list_versions
from modelbook.registry.registry import ModelRegistry
from modelbook.tracking.events import GATE_TAG
from modelbook.tracking.versions import DIGEST_TAG

BEGAN = datetime(2026, 11, 21, 9, tzinfo=UTC)


class Store:
    """MLflow's registry as far as a listing asks it, two versions a page."""

    def __init__(self, *versions: SimpleNamespace) -> None:
        self.versions = versions

    def search_model_versions(self, query, page_token=None):
        """Return a page of the versions of the model that a query is about."""
        names = {f"name = '{version.name}'": version.name for version in self.versions}
        found = [version for version in self.versions if version.name == names.get(query)]
        start = int(page_token or 0)
        # MLflow leaves the aliases out where it searches.
        page = Page(
            SimpleNamespace(**vars(version) | {"aliases": []}) for version in found[start : start + 2]
        )
        page.token = str(start + 2) if start + 2 < len(found) else None
        return page

    def get_model_version(self, name, number):
        """Return a version with its aliases."""
        return next(found for found in self.versions if (found.name, found.version) == (name, number))

    def get_run(self, run_id):
        """Return a run with a commit and metrics."""
        tags = {"mlflow.source.git.commit": f"commit of {run_id}"}
        return SimpleNamespace(data=SimpleNamespace(tags=tags, metrics={"test_rmse": 2.0, "train_rmse": 1.0}))


class Page(list):
    token: str | None = None


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    return load_config({"tracking": {"model_name": "houses"}}, environ={})


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch):
    """Return a function that puts versions into MLflow's registry."""

    def fill(*versions: SimpleNamespace) -> None:
        monkeypatch.setattr(listing, "open_client", lambda _: Store(*versions))

    fill()
    return fill


def registered(number: int, *, name: str = "houses", aliases: tuple[str, ...] = (), **tags: str):
    """Return a version as MLflow has it."""
    created = BEGAN + timedelta(hours=number)
    return SimpleNamespace(
        name=name,
        version=str(number),
        aliases=list(aliases),
        tags=tags,
        creation_timestamp=int(created.timestamp() * 1000),
        run_id=f"run{number}",
    )


def keep(
    config: Config, number: int, *, name: str = "houses", mlflow_version: str | None = None
) -> ModelVersion:
    """Put a version into the local registry."""
    entry = ModelVersion(
        name=name,
        version=f"v_20261121_{9 + number:02}0000",
        mlflow_version=mlflow_version,
        run_id=f"run{number}",
        created_at=BEGAN + timedelta(hours=number),
        gate="passed",
        metrics={"rmse": 2.5},
        file=f"models/model_registry/{name}/model.skops",
        sha256="b" * 64,
        size_bytes=1000,
    )
    registry = ModelRegistry(config)
    with registry._locked() as content:
        registry._save(content, entry)
    return entry


def shown(versions: list[VersionSummary]) -> list[tuple[str | None, str | None]]:
    return [(version.version, version.local_version) for version in versions]


@pytest.mark.usefixtures("store")
def test_nothing_yet(config: Config):
    """A project without versions has an empty list, not an error."""
    assert list_versions(config) == []


def test_side_by_side(config: Config, store):
    """A version that both registries have is one line; those that one of them has follow by age."""
    first = keep(config, 1, mlflow_version="1")
    last = keep(config, 4)
    store(registered(1, aliases=("staging",)), registered(2), registered(3))
    versions = list_versions(config)
    assert shown(versions) == [(None, last.version), ("3", None), ("2", None), ("1", first.version)]
    assert versions[-1].aliases == ("staging",)
    assert versions[-1].metrics == {"rmse": 2.5}


def test_what_only_mlflow_has(config: Config, store):
    """Of a version of another clone there is what MLflow knows: aliases give the stage, tags the gate."""
    tags = {GATE_TAG: "passed", DIGEST_TAG: "c" * 64}
    store(registered(3, aliases=("production", "staging", "champion"), **tags))
    (version,) = list_versions(config)
    assert (version.stage, version.gate, version.digest) == ("Production", "passed", "c" * 64)
    assert version.created_at == BEGAN + timedelta(hours=3)
    assert (version.metrics, version.size_bytes, version.run_id) == ({"rmse": 2.0}, None, "run3")
    assert version.commit == "commit of run3"


def test_every_model_of_the_project(config: Config, store):
    """Without a name these are the models that the project registered and the one that it is set to."""
    keep(config, 1, name="flats")
    store(registered(2), registered(3, name="flats"), registered(4, name="others"))
    assert {version.name for version in list_versions(config)} == {"houses", "flats"}
    assert {version.name for version in list_versions(config, "others")} == {"others"}


@pytest.mark.parametrize("name", ["nosuch", "o'clock"])
@pytest.mark.usefixtures("store")
def test_no_such_model(config: Config, name: str):
    """A model that neither registry has is not found, with exit code 5."""
    with pytest.raises(NotFoundError) as caught:
        list_versions(config, name)
    assert (caught.value.where, caught.value.exit_code) == (name, 5)


def test_without_mlflow(config: Config, monkeypatch: pytest.MonkeyPatch):
    """With MLflow off nobody asks it."""
    entry = keep(config, 1)
    monkeypatch.setattr(listing, "open_client", None)
    off = load_config(config.as_dict() | {"training": {"enable_mlflow": False}})
    assert shown(list_versions(off)) == [(None, entry.version)]


def test_a_store_that_is_away(config: Config, monkeypatch: pytest.MonkeyPatch):
    """A store that cannot be asked is an error, not a shorter list."""

    def refuse(_: object) -> None:
        raise TrackingStoreError("the tracking server does not answer")

    keep(config, 1)
    monkeypatch.setattr(listing, "open_client", refuse)
    with pytest.raises(TrackingStoreError):
        list_versions(config)


def test_one_version(config: Config, store):
    """A version is found by MLflow's number and by its local name."""
    entry = keep(config, 1, mlflow_version="1")
    store(registered(1), registered(2))
    assert find_version(config, "houses/1") == find_version(config, f"houses/{entry.version}")
    assert find_version(config, "houses/2").local_version is None


@pytest.mark.parametrize("ref", ["houses/9", "houses/", "nosuch/1"])
def test_no_such_version(config: Config, store, ref: str):
    """A version that there is not ends in exit code 5 and a word on where to look."""
    store(registered(1))
    with pytest.raises(NotFoundError) as caught:
        find_version(config, ref)
    assert caught.value.exit_code == 5
    assert (caught.value.hint or "").startswith("`modelbook models")
