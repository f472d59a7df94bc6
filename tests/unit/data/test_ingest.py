"""Sources of every kind, brought into a project and read."""

import gzip
import hashlib
import sqlite3
import subprocess
import sys
from contextlib import closing

import orjson
import polars as pl
import pytest

from modelbook.config import load_config
from modelbook.data.ingest import DataIngestor
from modelbook.errors import ConfigError, DataInvalidError, DataReadError, StorageError

CSV = b"rooms,price\n3,100\n4,200\n"
ROWS = [("3", "100"), ("4", "200")]


@pytest.fixture
def project(tmp_path):
    """Return a function that makes a project with data settings and returns what reads its source."""

    def make(**data):
        folder = tmp_path / "project" / "config"
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"data": {"target": "price", **data}}
        (folder / "config.yaml").write_bytes(orjson.dumps(settings))
        return DataIngestor(load_config(folder / "config.yaml", environ={}))

    return make


def test_file_in_place(project, write):
    """A source that is the project's own copy is read where it is."""
    write("project/data/raw/t.csv", CSV)
    ingestor = project(source="data/raw/t.csv")
    assert ingestor.ingest().rows() == ROWS
    assert ingestor.snapshot() == ingestor.raw


def test_file_elsewhere_is_copied(project, write):
    """A file outside data/raw is copied there, again whenever its content has changed."""
    source = write("t.csv", CSV)
    ingestor = project(source="../t.csv", raw="data/raw/t.csv")
    assert ingestor.snapshot().read_bytes() == CSV
    source.write_bytes(CSV.replace(b"100", b"999"))
    assert ingestor.ingest().rows()[0] == ("3", "999")


def test_copy_serves_where_the_source_is_not(project, write):
    """In a clone, where the original file is not, the project's own copy is read."""
    write("project/data/raw/t.csv", CSV)
    assert project(source="../t.csv", raw="data/raw/t.csv").ingest().rows() == ROWS


def test_absent_source(project, tmp_path):
    """A source that is neither there nor copied is named."""
    with pytest.raises(DataReadError, match="there is no such file") as caught:
        project(source="../t.csv", raw="data/raw/t.csv").ingest()
    assert caught.value.where == str(tmp_path / "project" / ".." / "t.csv")


@pytest.mark.parametrize("raw", ["data/raw/t.parquet", "data/raw/t.csv.gz"])
def test_copy_of_another_format(project, write, raw):
    """A copy whose name tells another format is a mistake in the config."""
    write("t.csv", CSV)
    with pytest.raises(ConfigError, match="has to end in the same way") as caught:
        project(source="../t.csv", raw=raw).snapshot()
    assert caught.value.exit_code == 2


def test_hash_of_a_file(project, write):
    """A file is held to the config's sha256 too, where there is one."""
    write("project/t.csv", CSV)
    assert project(source="t.csv", sha256=hashlib.sha256(CSV).hexdigest()).ingest().height == 2
    with pytest.raises(DataReadError, match="does not have the sha256"):
        project(source="t.csv", sha256="0" * 64).ingest()


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.parquet"])
def test_table_is_written_as_parquet(project, write, tmp_path, *, name):
    """Every format ends as one Parquet file with the same rows, and the rows are counted."""
    contents = {"t.csv": CSV, "t.csv.gz": gzip.compress(CSV), "t.jsonl": b'{"rooms":"3","price":"100"}\n' * 2}
    if name in contents:
        write(f"project/{name}", contents[name])
    else:
        (tmp_path / "project").mkdir()
        pl.DataFrame({"rooms": ["3", "4"], "price": ["100", "200"]}).write_parquet(
            tmp_path / "project" / name
        )
    ingestor = project(source=name)
    assert ingestor.ingest_to(tmp_path / "out" / "t.parquet") == 2
    assert pl.read_parquet(tmp_path / "out" / "t.parquet").equals(ingestor.ingest())


def test_failed_reading_leaves_the_former_table(project, write, tmp_path):
    """A table that cannot be read to its end takes no other's place."""
    former = write("out.parquet", b"former")
    write("project/t.csv", "a,b\n" + "1,2\n" * 100_000 + '1,"x')
    with pytest.raises(DataReadError):
        project(source="t.csv").ingest_to(former)
    assert former.read_bytes() == b"former"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "project"]


def test_duplicate_column_names(project, write, tmp_path):
    """Duplicate column names end the reading before anything is written."""
    write("project/t.csv", "a,a\n1,2\n")
    with pytest.raises(DataInvalidError, match="duplicate column names"):
        project(source="t.csv").ingest_to(tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_file_in_place_of_a_folder(project, write):
    """A result that has no place to go is a StorageError."""
    write("project/t.csv", CSV)
    with pytest.raises(StorageError) as caught:
        project(source="t.csv").ingest_to(write("file", b"") / "folder" / "t.parquet")
    assert caught.value.exit_code == 1


def test_read_only_folder(project, write, read_only_folder):
    """A folder that cannot be written is a StorageError that says so."""
    write("project/t.csv", CSV)
    with pytest.raises(StorageError, match="a file cannot be written"):
        project(source="t.csv").ingest_to(read_only_folder / "t.parquet")


def test_url_is_fetched_once(project, server, tmp_path):
    """A URL is fetched where the project has no copy of its hash, or on refresh."""
    (tmp_path / "site" / "t.csv").write_bytes(CSV)
    url = f"http://127.0.0.1:{server.server_port}/t.csv"
    ingestor = project(source=url, sha256=hashlib.sha256(CSV).hexdigest())
    assert ingestor.ingest().rows() == ROWS
    assert ingestor.raw == tmp_path / "project" / "data" / "raw" / "t.csv"
    ingestor.ingest()
    assert server.requests == ["/t.csv"]
    ingestor.snapshot(refresh=True)
    assert server.requests == ["/t.csv", "/t.csv"]


def test_changed_hash_fetches_again(project, server, tmp_path):
    """A copy that does not have the config's hash is not read."""
    (tmp_path / "site" / "t.csv").write_bytes(CSV)
    url = f"http://127.0.0.1:{server.server_port}/t.csv"
    project(source=url, sha256=hashlib.sha256(CSV).hexdigest()).snapshot()
    with pytest.raises(DataReadError, match="does not have the sha256"):
        project(source=url, sha256="0" * 64).ingest()


def test_url_without_hash(project):
    """A URL without sha256 is a mistake in the config."""
    with pytest.raises(ConfigError, match=r"data\.sha256"):
        project(source="http://127.0.0.1:1/t.csv").ingest()


@pytest.fixture
def database(tmp_path):
    """Return a database in the project, with one house."""
    (tmp_path / "project").mkdir()
    path = tmp_path / "project" / "t.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table house (rooms integer, price real)")
        connection.execute("insert into house values (3, 100.5)")
        connection.commit()
    return path


def test_query_is_kept_until_refresh(project, database):
    """What a query gave is read again and again, until a refresh asks the database."""
    ingestor = project(source="sqlite:///t.db", query="select * from house")
    assert ingestor.ingest().rows() == [(3, 100.5)]
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("insert into house values (4, 200)")
        connection.commit()
    assert ingestor.ingest().height == 1
    ingestor.snapshot(refresh=True)
    assert ingestor.ingest().height == 2


@pytest.mark.usefixtures("database")
def test_database_without_query(project):
    """A database without a query is a mistake in the config."""
    with pytest.raises(ConfigError, match=r"data\.query"):
        project(source="sqlite:///t.db").ingest()


@pytest.mark.usefixtures("database")
def test_copy_of_a_query_is_parquet(project):
    """What a query gives keeps its types, so its copy has to be Parquet."""
    with pytest.raises(ConfigError, match=r"data\.raw"):
        project(source="sqlite:///t.db", query="select 1 as a", raw="data/raw/t.csv").ingest()


def test_other_scheme(project):
    """An unknown scheme is a mistake in the config."""
    with pytest.raises(ConfigError, match="is not supported"):
        project(source="s3://bucket/t.parquet", query="select 1").ingest()


@pytest.mark.parametrize(
    ("source", "raw"),
    [
        ("houses.csv", "houses.csv"),
        ("https://example.org/a/houses.csv.gz?token=x", "data/raw/houses.csv.gz"),
        ("https://example.org", "data/raw/table.csv"),
        ("postgresql://host/db", "data/raw/table.parquet"),
    ],
)
def test_place_of_the_copy(source, raw):
    """Without data.raw a file is its own copy, and what is fetched has its place under data/raw."""
    assert load_config({"data": {"source": source}}).data.raw == raw


def test_light_stages_stay_light():
    """Reading and validating load none of the libraries that take long to start."""
    heavy = "{'mlflow', 'sklearn', 'pandas', 'sqlalchemy', 'httpx', 'pandera'}"
    rooms = "modelbook.data.validate, modelbook.data.ingest"
    code = f"import sys, {rooms}; sys.exit(str({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.strip() == "set()"
