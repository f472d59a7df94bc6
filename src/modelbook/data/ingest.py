"""The first step: a source becomes the project's own copy, and that copy becomes a table."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl

from modelbook.config import ConfigLike, load_config
from modelbook.data.database import query_to
from modelbook.data.download import download, wrong_hash
from modelbook.data.tables import count_rows, reading, scan_table, table_format
from modelbook.errors import ConfigError
from modelbook.files import file_hash, whole_file


class DataIngestor:
    r"""Brings the source that the config names into the project and reads it.

    The source is a file (CSV, TSV, JSON lines, Parquet; the first three also as .gz), an http(s) URL with its
    sha256, or a SQL query over SQLite or PostgreSQL. What is read is `data.raw`, the project's own copy.

    Args:
        config: The project's settings.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "houses.csv"
        >>> _ = path.write_text("rooms,price\n3,100\n4,200\n")
        >>> DataIngestor({"data": {"source": str(path), "target": "price"}}).ingest().shape
        (2, 2)
    """

    def __init__(self, config: ConfigLike) -> None:
        self.config = load_config(config)

    @property
    def raw(self) -> Path:
        """The project's own copy of the source, absolute."""
        return self.config.path(self.config.data.raw)

    def snapshot(self, *, refresh: bool = False) -> Path:
        """Return the project's own copy of the source, made if need be.

        A file is copied when its content differs from the copy's, and a URL is fetched when the copy does not
        have the config's sha256. What a query gives is kept until `refresh`.

        Args:
            refresh: Whether to fetch a URL or run a query again although the copy is there.

        Raises:
            ConfigError: A URL without sha256, a database without query, or a copy of another format.
            DataReadError: The source cannot be read or has another hash.
            DataInvalidError: Two columns of a query's result have one name.
            StorageError: The copy cannot be written.
        """
        data = self.config.data
        scheme = urlsplit(data.source).scheme if "://" in data.source else ""
        if scheme in {"http", "https"}:
            self._fetch(refresh=refresh)
        elif scheme:
            self._query(refresh=refresh)
        else:
            self._copy()
        return self.raw

    def ingest(self) -> pl.DataFrame:
        """Return the source as a table, with its rows in order.

        Returns:
            The table, (n_rows, n_columns). CSV and TSV columns are all text, with empty fields null.

        Raises:
            ConfigError, DataReadError, DataInvalidError, StorageError: As for `snapshot`; or the table is cut
                off, not what its name says, or has two columns of one name.
        """
        path = self.snapshot()
        with reading(path):
            return scan_table(path).collect(engine="streaming")

    def ingest_to(self, path: Path) -> int:
        """Write the table that the source holds to a Parquet file and return its number of rows.

        Rows pass through in a stream: memory does not grow with them.

        Args:
            path: The Parquet file; it is whole or as it was.

        Raises:
            ConfigError, DataReadError, DataInvalidError, StorageError: As for `ingest`.
        """
        raw = self.snapshot()
        table = scan_table(raw)
        with whole_file(path) as temporary:
            if table_format(raw) == "parquet":
                shutil.copyfile(raw, temporary)
            else:
                with reading(raw):
                    table.sink_parquet(temporary, engine="streaming")
        return count_rows(path)

    def _fetch(self, *, refresh: bool) -> None:
        data = self.config.data
        if data.sha256 is None:
            raise _mistaken("data.sha256: an http(s) source needs the hash that its publisher gives")
        if refresh or not self.raw.is_file() or file_hash(self.raw) != data.sha256:
            download(data.source, self.raw, sha256=data.sha256)

    def _query(self, *, refresh: bool) -> None:
        data = self.config.data
        if data.query is None:
            raise _mistaken("data.query: a database source needs a SQL query")
        if table_format(self.raw) != "parquet":
            raise _mistaken("data.raw: what a query gives is kept as .parquet")
        if refresh or not self.raw.is_file():
            query_to(data.source, data.query, self.raw, root=self.config.root)

    def _copy(self) -> None:
        source = self.config.path(self.config.data.source)
        if source != self.raw and (source.exists() or not self.raw.exists()):
            self._check_same_format(source)
            with reading(source):
                is_same = self.raw.is_file() and file_hash(source) == file_hash(self.raw)
                if not is_same:
                    with whole_file(self.raw) as temporary:
                        shutil.copyfile(source, temporary)
        self._check_hash()

    def _check_hash(self) -> None:
        expected = self.config.data.sha256
        if expected is None:
            return
        with reading(self.raw):
            got = file_hash(self.raw)
        if got != expected:
            raise wrong_hash(self.config.data.source, got=got, expected=expected)

    def _check_same_format(self, source: Path) -> None:
        is_same = table_format(source) == table_format(self.raw)
        if not is_same or (source.suffix.lower() == ".gz") != (self.raw.suffix.lower() == ".gz"):
            raise _mistaken("data.raw: it is a copy of data.source, so its name has to end in the same way")


def _mistaken(mistake: str) -> ConfigError:
    return ConfigError("the source cannot be read as it is set", mistakes=(mistake,))
