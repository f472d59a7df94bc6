"""Queries over a PostgreSQL of the test's own: a cluster in a temporary folder, on a Unix socket alone."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from modelbook.data.database import query_to
from modelbook.data.ingest import DataIngestor
from modelbook.errors import DataReadError

# ruff: noqa: DTZ001 (timestamps without a zone are what is tested)

START_TIMEOUT_S = 60
TABLE = """
create table house as select
  n as rooms, n * 1.5::float8 as price, (n * 0.25)::numeric(10, 2) as tax, n % 2 = 0 as sold,
  'kind ' || n % 3 as kind, date '2021-01-01' + n as day, timestamp '2021-01-01 10:00' as hour,
  null::integer as nothing, jsonb_build_object('n', n) as facts, array[n, n] as pair, gen_random_uuid() as id
from generate_series(0, 999) n;
create role reader login password 'secret';
"""


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs, or skip."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("PostgreSQL is not installed")
    return found[-1].parent if found else Path(on_path).parent


def unprivileged() -> list[str]:
    """Return the words that run a program as another user: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return []
    if (
        shutil.which("setpriv") is None
        or subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode
    ):
        pytest.skip("root cannot run PostgreSQL without setpriv and a user postgres")
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the URL of a running cluster's database."""
    programs, user = binaries(), unprivileged()
    # A socket's path may be 107 bytes long, so it is not put below pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, "postgres", "postgres")
        cluster = folder / "data"
        initdb = [programs / "initdb", "-D", cluster, "-U", "owner", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*user, *initdb], check=True, capture_output=True, cwd=folder)
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*user, programs / "postgres", "-D", cluster, *options], stdout=log, stderr=log, cwd=folder
            )
        try:
            wait_until_ready(programs, folder, server)
            psql = [programs / "psql", "-h", folder, "-U", "owner", "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
            subprocess.run([*psql, "-q"], input=TABLE, text=True, check=True, capture_output=True)
            yield f"postgresql://owner:secret@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=START_TIMEOUT_S)


def wait_until_ready(programs: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    ready = [programs / "pg_isready", "-q", "-h", folder]
    while subprocess.run(ready, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.1)


def test_types_of_a_result(url, tmp_path):
    """Numbers, booleans, text and times keep their types; what has no place in a table becomes text."""
    query_to(
        url, "select * from house order by rooms;", tmp_path / "t.parquet", root=tmp_path, chunk_rows=300
    )
    table = pl.read_parquet(tmp_path / "t.parquet")
    assert table.height == 1000
    first = table.row(3, named=True)
    assert len(first.pop("id")) == 36
    assert first == {
        "rooms": 3,
        "price": 4.5,
        "tax": 0.75,
        "sold": False,
        "kind": "kind 0",
        "day": date(2021, 1, 4),
        "hour": datetime(2021, 1, 1, 10),
        "nothing": None,
        "facts": '{"n":3}',
        "pair": "[3,3]",
    }


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_source_of_a_project(url, tmp_path, monkeypatch, *, scheme):
    """A project reads a query's result from its own copy, under every name of the scheme."""
    monkeypatch.chdir(tmp_path)
    source = url.replace("postgresql", scheme, 1)
    config = {
        "data": {"source": source, "query": "select rooms from house where kind like '%0'", "target": "rooms"}
    }
    assert DataIngestor(config).ingest().height == 334
    assert (tmp_path / "data" / "raw" / "table.parquet").is_file()


def test_database_is_only_read(url, tmp_path):
    """A query that would change the database is refused, and none of the secrets are shown."""
    with pytest.raises(DataReadError) as caught:
        query_to(url, "delete from house returning rooms", tmp_path / "t.parquet", root=tmp_path)
    assert "secret" not in str(caught.value)
    query_to(url, "select count(*) as n from house", tmp_path / "t.parquet", root=tmp_path)
    assert pl.read_parquet(tmp_path / "t.parquet")["n"].item() == 1000


def test_wrong_query(url, tmp_path):
    """What the database says about the query is passed on, but not what it says about values."""
    with pytest.raises(DataReadError) as caught:
        query_to(url, "select * from hose", tmp_path / "t.parquet", root=tmp_path)
    assert caught.value.got == 'relation "hose" does not exist'
    with pytest.raises(DataReadError) as caught:
        query_to(url, "select kind::integer from house", tmp_path / "t.parquet", root=tmp_path)
    assert "kind 0" not in str(caught.value)
    assert not (tmp_path / "t.parquet").exists()
