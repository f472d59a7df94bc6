"""The table that a new project begins with: an example, a file, what a URL or a query gives."""

import re
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from modelbook.config import remove_password
from modelbook.data.download import download
from modelbook.data.ingest import DataIngestor
from modelbook.data.tables import table_format
from modelbook.errors import DataReadError, UsageError
from modelbook.files import storage_errors, whole_file

RAW_FOLDER = "data/raw"
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|$]')  # not in every file system, or of a meaning in dvc.yaml
_EXAMPLES = {
    "housing": ("housing.parquet", "median_house_value"),
    "classification": ("machines.csv", "failed"),
}


@dataclass(frozen=True)
class Source:
    """Where a table comes from.

    Attributes:
        address: A file, an http(s) URL or a database URL; for an example, its name.
        target: The column to predict.
        query: The SQL query, for a database.
        is_example: Whether the table comes with Modelbook.
    """

    address: str
    target: str
    query: str | None = None
    is_example: bool = False

    @property
    def scheme(self) -> str:
        """The URL's scheme; empty for files and examples."""
        return urlsplit(self.address).scheme.lower() if "://" in self.address else ""

    @property
    def raw(self) -> str:
        """Where the project keeps its copy, as a path in the project.

        Raises:
            DataReadError: The name does not say which format the table has.

        Example:
            >>> Source("/somewhere/my houses.csv", "price").raw
            'data/raw/my houses.csv'
        """
        return f"{RAW_FOLDER}/{_UNSAFE.sub('_', self._name())}"

    def _name(self) -> str:
        if self.is_example:
            return _EXAMPLES[self.address][0]
        if self.scheme in {"http", "https"}:
            name = PurePosixPath(urlsplit(self.address).path).name
        else:
            name = "table.parquet" if self.scheme else Path(self.address).name
        table_format(name)
        return name


@dataclass(frozen=True)
class Provenance:
    """What config.yaml says of where the table comes from.

    Attributes:
        source: The file, URL or database URL, without a password.
        sha256: The hash of what an http(s) URL gave.
        notes: What the user should know.
    """

    source: str
    sha256: str | None = None
    notes: tuple[str, ...] = ()


def choose_source(*, example: str | None, data: str | None, target: str | None, query: str | None) -> Source:
    """Return the source that the options of `init` name.

    Raises:
        UsageError: The options do not go together.
        DataReadError: The source is a folder.
    """
    if (example is None) == (data is None):
        got = "both" if example else "neither"
        raise UsageError(
            "init takes either --example or --data",
            got=got,
            hint="--example housing, or --data FILE --target COLUMN",
        )
    if example is not None:
        return _example(example, target=target, query=query)
    if target is None:
        raise UsageError(
            "--data needs --target", expected="the column to predict", hint="add --target COLUMN"
        )
    source = Source(data or "", target, query=query)
    if not source.scheme and Path(source.address).is_dir():
        raise DataReadError(
            "the source is a folder",
            where=source.address,
            expected="a file with one table",
            hint="give --data one file: CSV, Parquet or JSON lines",
        )
    is_database = source.scheme not in {"", "http", "https"}
    if is_database != (query is not None):
        what = "a database needs --query" if is_database else "--query is for a database"
        raise UsageError(what, got=f"--data {without_password(source.address)[0]}", hint='--query "SELECT …"')
    return source


def bring(source: Source, raw: Path, *, home: Path) -> Provenance:
    """Put a source's table into a file and return what to say of where it comes from.

    Args:
        source: Where the table comes from.
        raw: The file; it is whole or absent.
        home: The project's future folder, which a relative SQLite file is going to be looked for in.

    Raises:
        DataReadError: The source cannot be read.
        DataInvalidError: Two columns have one name.
        StorageError: The folder cannot be written or the disk is full.
    """
    with storage_errors(raw):
        raw.parent.mkdir(parents=True, exist_ok=True)
    if source.is_example:
        _write_example(source.address, raw)
        return Provenance(source.raw)
    if source.scheme in {"http", "https"}:
        sha256 = download(source.address, raw, sha256=None)
        address, notes = without_password(source.address)
        return Provenance(address, sha256=sha256, notes=notes)
    settings = {"source": source.address, "raw": str(raw), "query": source.query, "target": source.target}
    DataIngestor({"data": settings}).snapshot()
    if not source.scheme:
        return Provenance(source.raw)
    address, notes = without_password(_from_project(source.address, home))
    return Provenance(address, notes=notes)


def without_password(url: str) -> tuple[str, tuple[str, ...]]:
    """Return a URL without its password, and a note if it had one.

    Example:
        >>> without_password("postgresql://ann:secret@localhost/db")[0]
        'postgresql://ann@localhost/db'
    """
    bare = remove_password(url)
    if bare == url:
        return url, ()
    place = "~/.netrc" if url.startswith("http") else "~/.pgpass"
    note = f"the password was left out of config.yaml, which is in git: --refresh looks for it in {place}"
    return bare, (note,)


def _example(name: str, *, target: str | None, query: str | None) -> Source:
    if name not in _EXAMPLES:
        raise UsageError("there is no such example", got=name, expected=" or ".join(_EXAMPLES))
    if target is not None or query is not None:
        raise UsageError("an example has its own target", got="--target or --query with --example")
    return Source(name, _EXAMPLES[name][1], is_example=True)


def _write_example(name: str, raw: Path) -> None:
    with whole_file(raw) as temporary:
        if name == "housing":
            with as_file(files(__package__) / "examples" / "housing.parquet") as example:
                temporary.write_bytes(example.read_bytes())
        else:
            from modelbook.scaffold.synthetic import draw_machines

            draw_machines().write_csv(temporary)


def _from_project(url: str, home: Path) -> str:
    """Return a database URL whose relative SQLite file, meant from here, is found from the project too."""
    scheme, _, rest = url.partition(":///")
    if scheme != "sqlite" or Path(rest).is_absolute():
        return url
    file = Path(rest).absolute()
    return f"sqlite:///{file.relative_to(home) if file.is_relative_to(home) else file}"
