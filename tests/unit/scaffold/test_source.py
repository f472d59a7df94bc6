from pathlib import Path

import pytest

from modelbook.errors import DataReadError, UsageError
from modelbook.scaffold.source import Source, bring, choose_source, without_password


@pytest.mark.parametrize(
    ("address", "raw"),
    [
        ("/somewhere/houses.csv", "data/raw/houses.csv"),
        ("my häuser #1.parquet", "data/raw/my häuser #1.parquet"),
        ("what?.csv", "data/raw/what_.csv"),
        ("${x}.csv", "data/raw/_{x}.csv"),
        ("https://example.org/a/houses.csv.gz?token=1", "data/raw/houses.csv.gz"),
        ("postgresql://ann@localhost/shop", "data/raw/table.parquet"),
    ],
)
def test_raw(address: str, raw: str):
    """The project's copy keeps the source's name, without signs that file systems or DVC would misread."""
    assert Source(address, "y").raw == raw


def test_unknown_extension():
    """A name that does not say which format the table has is refused, with the formats there are."""
    with pytest.raises(DataReadError, match="does not say which format") as caught:
        _ = Source("houses.xlsx", "y").raw
    assert caught.value.exit_code == 3
    assert ".csv" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "init takes either --example or --data"),
        ({"example": "housing", "data": "a.csv"}, "init takes either --example or --data"),
        ({"data": "a.csv"}, "--data needs --target"),
        ({"example": "iris"}, "there is no such example"),
        ({"example": "housing", "target": "price"}, "an example has its own target"),
        ({"data": "sqlite:///a.db", "target": "y"}, "a database needs --query"),
        ({"data": "a.csv", "target": "y", "query": "SELECT 1"}, "--query is for a database"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, str], message: str):
    """Options that contradict each other or leave something open are usage errors."""
    given = dict.fromkeys(("example", "data", "target", "query")) | options
    with pytest.raises(UsageError, match=message) as caught:
        choose_source(**given)
    assert caught.value.exit_code == 2


def test_folder(tmp_path: Path):
    """A folder is no table, and one file is asked for."""
    with pytest.raises(DataReadError, match="the source is a folder") as caught:
        choose_source(example=None, data=str(tmp_path), target="y", query=None)
    assert caught.value.exit_code == 3
    assert "one file" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("url", "kept", "place"),
    [
        ("https://ann:s3cret@example.org:8443/a.csv", "https://ann@example.org:8443/a.csv", "~/.netrc"),
        ("postgresql://ann:s3/c?ret@host/db", "postgresql://ann@host/db", "~/.pgpass"),
        ("postgresql://host/db?user=ann&password=s3cret", "postgresql://host/db?user=ann", "~/.pgpass"),
        ("postgresql://host/db?password=s3cret", "postgresql://host/db", "~/.pgpass"),
    ],
)
def test_password_stays_out(url: str, kept: str, place: str):
    """A password, before the host or in the query, is not passed on to config.yaml, and that is said."""
    address, notes = without_password(url)
    assert address == kept
    assert place in notes[0]


def test_an_address_without_a_password_stays():
    """What holds no password is passed on as it is."""
    for url in ("a:b@c.csv", "https://ann@host:80/t.csv?sig=x&n=1", "postgresql://host:5432/db"):
        assert without_password(url) == (url, ())


@pytest.mark.parametrize("name", ["housing", "classification"])
def test_examples(name: str, tmp_path: Path):
    """Both examples come out of the package."""
    source = choose_source(example=name, data=None, target=None, query=None)
    assert bring(source, tmp_path / source.raw, home=tmp_path).source == source.raw
    assert (tmp_path / source.raw).stat().st_size > 10_000
