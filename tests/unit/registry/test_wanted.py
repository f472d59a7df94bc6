from datetime import UTC, datetime

import pytest

from modelbook.config import load_config
from modelbook.errors import NotFoundError, StoreAwayError, UsageError
from modelbook.registry.reference import Reference
from modelbook.registry.registry import ModelRegistry
from modelbook.registry.shelf import Remembered, Shelf
from modelbook.registry.wanted import Wanted, digest_of, find_kept, find_wanted, parse_wanted
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.store import open_client


@pytest.fixture
def local(light_project, tmp_path):
    """A project without MLflow, and the names of its model's three versions."""
    config = load_config(light_project(tmp_path / "houses"))
    return config, [entry.version for entry in ModelRegistry(config).versions("houses")]


@pytest.fixture
def stored(light_project, empty_store, tmp_path):
    return load_config(light_project(tmp_path / "houses", store=empty_store))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("houses", ("houses", None, "production")),
        ("models:/houses", ("houses", None, "production")),
        ("models:/houses@staging", ("houses", None, "staging")),
        ("houses/3", ("houses", "3", None)),
        ("houses/latest", ("houses", None, None)),
    ],
)
def test_what_a_reference_asks_for(text, parts):
    """A bare name asks for what is in production."""
    assert parse_wanted(text) == Reference(*parts)


@pytest.mark.parametrize("text", ["runs:/abc", "model.joblib/3/4", "", "a@b@c"])
def test_what_is_no_reference(text):
    """What cannot change with the registry is not followed."""
    with pytest.raises(UsageError):
        parse_wanted(text)


def test_the_local_registry_is_asked_without_mlflow(local):
    """What is in production or staging by registry.json, a version by its name, else the newest."""
    config, (first, second, third) = local
    assert find_wanted(config, parse_wanted("houses")) == Wanted("houses", third, None)
    ModelRegistry(config).set_stages(
        "houses", {first: "Production", second: "Staging"}, head=None, by_number=False
    )
    assert find_wanted(config, parse_wanted("houses")) == Wanted("houses", first, None, "production")
    assert find_wanted(config, parse_wanted("houses@staging")).version == second
    assert find_wanted(config, parse_wanted(f"houses/{second}")).version == second
    assert find_wanted(config, parse_wanted("houses/latest")).version == third
    for text in ("houses@nobody", "houses/9", "barns"):
        with pytest.raises(NotFoundError) as raised:
            find_wanted(config, parse_wanted(text))
        assert raised.value.where == text


def test_mlflow_has_the_last_word(stored):
    """With MLflow its aliases count, whatever registry.json says; the newest where nothing is promoted."""
    assert find_wanted(stored, parse_wanted("houses")) == Wanted("houses", "3", "digest3")
    open_client(stored).set_registered_model_alias("houses", "production", "1")
    assert find_wanted(stored, parse_wanted("houses")) == Wanted("houses", "1", "digest1", "production")
    assert find_wanted(stored, parse_wanted("houses/2")) == Wanted("houses", "2", "digest2")
    for text in ("houses@staging", "houses/9", "barns"):
        with pytest.raises(NotFoundError) as raised:
            find_wanted(stored, parse_wanted(text))
        assert raised.value.where == text


def test_what_the_local_registry_last_knew(stored, free_port):
    """With the store away that is an error, and the project still knows what it registered."""
    assert find_kept(stored, parse_wanted("houses/2")).version == "2"
    path = stored.root / "config/config.yaml"
    path.write_text(path.read_text().replace("houses", f"houses, uri: 'http://127.0.0.1:{free_port}'"))
    with pytest.raises(StoreAwayError):
        find_wanted(load_config(stored.root), parse_wanted("houses"))
    assert find_kept(load_config(stored.root), parse_wanted("houses")).version == "3"


def test_a_store_whose_file_is_gone(stored):
    """Where a version answered before the store is away, and not the model; nobody else had one."""
    reference = parse_wanted("houses")
    sqlite_path(stored.tracking_uri).unlink()
    with pytest.raises(NotFoundError, match="no such model"):
        find_wanted(stored, reference)
    shelf, moment = Shelf(stored), datetime(2026, 11, 22, tzinfo=UTC)
    shelf.bundle("d1").mkdir(parents=True)
    note = Remembered(name="houses", version="1", digest="d1", alias=None, server="a1", moment=moment)
    shelf.remember(reference, note)
    with pytest.raises(StoreAwayError, match="is gone") as raised:
        find_wanted(stored, reference)
    assert raised.value.got == "no such file"
    with pytest.raises(NotFoundError, match="no such model"):
        find_wanted(stored, parse_wanted("barns"))


def test_a_digest_is_no_path():
    """What a store says of a digest is taken for one only where it looks like one."""
    assert digest_of(Wanted("houses", "1", "ab" * 32)) == "ab" * 32
    for digest in (None, "../x", "AB" * 32, "ab" * 31):
        assert digest_of(Wanted("houses", "1", digest)) is None
