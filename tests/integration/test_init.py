import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from ruamel.yaml import YAML

from modelbook.config import load_config
from modelbook.errors import UsageError
from modelbook.scaffold import project
from modelbook.scaffold.project import create_project
from modelbook.scaffold.repository import GitPlace
from modelbook.scaffold.source import Source

TABLE = {
    "size": [row % 13 + 0.5 for row in range(60)],
    "zone": ["a", "b", "c"] * 20,
    "price": [row * 1.5 for row in range(60)],
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "houses.csv"
    pl.DataFrame(TABLE).write_csv(path)
    return path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def dvc(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("example", "task", "rows"),
    [("housing", "regression", 20_640), ("classification", "classification", 1_000)],
)
def test_examples(example: str, *, task: str, rows: int, run_cli, tmp_path: Path):
    """An example is laid down as a git repository with DVC and one commit that leaves nothing over."""
    done = run_cli("--json", "init", "demo", "--example", example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    root = tmp_path / "demo"
    assert (told["task"], told["rows"], told["git"]) == (task, rows, "own")
    assert told["next"] == "modelbook -C demo run"
    files = "dvc.lock config data features.py"
    assert told["then"] == f"git -C demo add {files} && git -C demo commit -m 'Train a model'"
    assert git(root, "status", "--porcelain", "--untracked-files=all") == ""
    assert git(root, "rev-list", "--count", "HEAD") == "1"
    assert load_config(root).project.task == task
    assert load_config(root).data.source == told["raw"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]


def test_dvc_takes_it(run_cli, tmp_path: Path):
    """DVC finds the data tracked, every parameter there, and the stages in their order."""
    run_cli("init", "demo", "--example", "classification", cwd=tmp_path)
    root = tmp_path / "demo"
    assert dvc(root, "status", "data/raw/machines.csv.dvc", "--json") == "{}"
    assert dvc(root, "config", "core.analytics") == "False"
    listed = [line.split()[0] for line in dvc(root, "stage", "list").splitlines()]
    assert listed == ["ingest", "validate", "preprocess", "train", "register"]
    status = json.loads(dvc(root, "status", "--json"))
    changes = [
        change
        for stage in status.values()
        for part in stage
        for change in part.get("changed deps", {}).items()
    ]
    assert ("config/config.yaml", "deleted") not in changes
    assert "missing" not in json.dumps(status)


def test_light(tmp_path: Path):
    """Laying a project down imports none of MLflow, scikit-learn and pandas."""
    script = (
        "import sys\nfrom modelbook.cli.main import main\n"
        "try:\n    main(['--quiet', 'init', 'demo', '--example', 'housing'])\n"
        "except SystemExit as error:\n    assert not error.code\n"
        "print(sorted({'mlflow', 'sklearn', 'pandas', 'lightgbm', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_own_table(table: Path, run_cli, tmp_path: Path):
    """A file is copied, tracked and described; people are told what was decided and what comes next."""
    done = run_cli("init", "new project/prices", "--data", table, "--target", "price", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "new project/prices"
    assert (root / "data/raw/houses.csv").read_bytes() == table.read_bytes()
    assert "zone\tstring\tcategorical\ttext, 3 categories: one-hot\tc" not in done.stdout
    assert "zone\tstring\tcategorical\ttext, 3 categories: one-hot\ta, b, c" in done.stdout
    assert "task      regression: price holds numbers with fractions, 60 different" in done.stdout
    assert "next      modelbook -C 'new project/prices' run" in done.stdout
    config = load_config(root)
    assert config.tracking.model_name == "prices"
    assert config.evaluation.thresholds == {}


def test_strange_names(run_cli, tmp_path: Path):
    """Spaces, quotes, colons and other alphabets in file and column names pass through git and DVC."""
    names = ["größe: m²", 'say "hi"', "it's", "# no", "${x}", "价格"]
    path = tmp_path / "meine häuser & co.csv"
    pl.DataFrame({name: [row % 7 + 0.5 for row in range(60)] for name in names}).write_csv(path)
    done = run_cli("init", "demo", "--data", path.name, "--target", "价格", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "demo"
    assert load_config(root).features.numeric.columns == tuple(names[:-1])
    assert dvc(root, "status", f"data/raw/{path.name}.dvc", "--json") == "{}"
    assert "ingest" in dvc(root, "status")
    assert git(root, "status", "--porcelain") == ""


def test_outer_repository(table: Path, run_cli, tmp_path: Path):
    """In a sub-folder of a repository nothing is committed or staged, and that is said."""
    git(tmp_path, "init", "--quiet")
    done = run_cli("init", "sub/demo", "--data", table, "--target", "price", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "sub/demo"
    assert "nothing was committed for you" in done.stdout
    assert f"git -C {root} add . && git -C {root} commit -m" in done.stdout
    assert not (root / ".git").exists()
    assert git(tmp_path, "diff", "--cached", "--name-only") == ""
    untracked = git(tmp_path, "ls-files", "--others", "--exclude-standard", "sub").splitlines()
    assert "sub/demo/data/raw/houses.csv.dvc" in untracked
    assert "sub/demo/data/raw/houses.csv" not in untracked
    assert dvc(root, "status", "data/raw/houses.csv.dvc", "--json") == "{}"


def test_ignored_by_the_outer_repository(run_cli, tmp_path: Path):
    """A folder that the repository around it ignores gets a repository of its own."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("demo/\n")
    done = run_cli("init", "demo", "--example", "classification", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert git(tmp_path / "demo", "rev-list", "--count", "HEAD") == "1"
    assert git(tmp_path / "demo", "rev-parse", "--show-toplevel") == str((tmp_path / "demo").resolve())


def test_without_git(table: Path, run_cli, tmp_path: Path):
    """Without git the project is laid down all the same, and what it lacks is said."""
    empty = tmp_path / "bin"
    empty.mkdir()
    done = run_cli(
        "init", "demo", "--data", table, "--target", "price", cwd=tmp_path, env={"PATH": str(empty)}
    )
    assert done.returncode == 0, done.stderr
    assert "git is not installed" in done.stdout
    assert "then      " not in done.stdout
    root = tmp_path / "demo"
    assert not (root / ".git").exists()
    assert "no_scm = True" in (root / ".dvc/config").read_text()
    assert (root / "data/raw/houses.csv.dvc").is_file()
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    assert "data/raw/houses.csv" not in git(root, "ls-files").splitlines()
    assert "data/raw/houses.csv.dvc" in git(root, "ls-files").splitlines()


def test_empty_folder_and_bystanders(table: Path, run_cli, tmp_path: Path):
    """An existing folder is taken where nothing in it would be overwritten; what lies there stays."""
    root = tmp_path / "demo"
    (root / "data").mkdir(parents=True)
    (root / "data/notes.txt").write_text("mine")
    done = run_cli("init", ".", "--data", table, "--target", "price", cwd=root)
    assert done.returncode == 0, done.stderr
    assert "next      modelbook run" in done.stdout
    assert (root / "data/notes.txt").read_text() == "mine"
    assert git(root, "status", "--porcelain", "--untracked-files=all") == "?? data/notes.txt"


def test_table_in_its_place_already(run_cli, tmp_path: Path):
    """A table that lies where the project keeps it is used there."""
    path = tmp_path / "demo/data/raw/houses.csv"
    path.parent.mkdir(parents=True)
    pl.DataFrame(TABLE).write_csv(path)
    before = path.stat()
    done = run_cli("init", "demo", "--data", path, "--target", "price", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_ino == before.st_ino
    assert dvc(tmp_path / "demo", "status", "data/raw/houses.csv.dvc", "--json") == "{}"


def test_from_another_folder(table: Path, run_cli, tmp_path: Path):
    """With -C the hint names the project so that it works from where the user is."""
    (tmp_path / "there").mkdir()
    done = run_cli("-C", "there", "init", "demo", "--data", table, "--target", "price", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"next      modelbook -C {tmp_path / 'there/demo'} run" in done.stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "web"
    folder.mkdir()
    pl.DataFrame(TABLE).write_csv(folder / "houses.csv")
    handler = partial(
        type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}), directory=folder
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_url(server: str, run_cli, tmp_path: Path):
    """What a URL gives is kept with its hash; its password is not."""
    url = f"http://ann:s3cret@{server}/houses.csv"
    done = run_cli("init", "demo", "--data", url, "--target", "price", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = load_config(tmp_path / "demo")
    raw = (tmp_path / "demo/data/raw/houses.csv").read_bytes()
    assert config.data.sha256 == hashlib.sha256(raw).hexdigest()
    assert config.data.source == f"http://ann@{server}/houses.csv"
    assert "the password was left out" in done.stdout
    kept = subprocess.run(
        ["git", "grep", "s3cret", "HEAD"], cwd=tmp_path / "demo", check=False, capture_output=True
    )
    assert kept.stdout == b""


def test_url_that_is_not_there(server: str, run_cli, tmp_path: Path):
    """A URL that gives nothing is a data error that leaves nothing behind."""
    url = f"http://{server}/nothing.csv"
    done = run_cli("init", "demo", "--data", url, "--target", "price", cwd=tmp_path)
    assert done.returncode == 3
    assert "a source could not be fetched" in done.stderr
    assert not (tmp_path / "demo").exists()


def test_database(run_cli, tmp_path: Path):
    """What a query gives is kept as Parquet; a relative database is found from the project too."""
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE houses (size REAL, price REAL)")
        connection.executemany(
            "INSERT INTO houses VALUES (?, ?)", [(row % 7 + 0.5, row * 1.5) for row in range(60)]
        )
    connection.close()
    query = "SELECT size, price FROM houses ORDER BY rowid"
    done = run_cli(
        "init", "demo", "--data", "sqlite:///shop.db", "--query", query, "--target", "price", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    config = load_config(tmp_path / "demo")
    assert config.data.query == query
    assert config.data.source == f"sqlite:///{tmp_path / 'shop.db'}"
    assert pl.read_parquet(tmp_path / "demo/data/raw/table.parquet").shape == (60, 2)


HEADER = "size,zone,price\n"
ROWS = "".join(f"{row % 7}.5,a,{row}.5\n" for row in range(60))


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("absent.csv", None, 3, "there is no such file"),
        ("empty.csv", "", 3, "the file is empty"),
        ("header.csv", HEADER, 3, "the table has no rows"),
        ("twice.csv", "size,size,price\n1,2,3\n", 3, "the table has duplicate column names"),
        ("same.csv", HEADER + "1.5,a,7\n2.5,b,7\n3.5,a,7\n", 3, "the target has the same value in every row"),
        ("missing.csv", HEADER + "1.5,a,\n2.5,b,\n", 3, "the target is missing in every row"),
        ("few.csv", HEADER + "1.5,a,7.5\n2.5,b,8.5\n2.5,a,9.5\n", 3, "3 rows left to train and test on"),
        ("semicolons.csv", HEADER.replace(",", ";"), 3, "its columns seem to be separated by ';'"),
        ("commas.csv", HEADER + '1.5,a,"7,5"\n2.5,b,"8,5"\n', 3, "numbers with decimal commas"),
        ("other.csv", "size,zone,prices\n1,a,2\n", 2, "the table has no such column"),
        ("houses.xlsx", "x", 3, "the name of a file does not say which format the table has"),
        ("broken.parquet", "x" * 100, 3, "the file is cut off or damaged"),
        ("latin.csv", b"size,gr\xf6sse,price\n1,a,2\n", 3, "the file is not UTF-8 text"),
    ],
)
def test_bad_tables(
    name: str, *, content: str | bytes | None, code: int, message: str, run_cli, tmp_path: Path
):
    """A table that cannot be used is refused with the reason and the file's own name, and nothing is left."""
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = run_cli("init", "demo", "--data", name, "--target", "price", cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert ".modelbook-init" not in done.stderr
    assert "data.source" not in done.stderr  # there is no config.yaml yet to look at
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ([] if content is None else [name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--example", "housing", "--data", "houses.csv"], "init takes either --example or --data"),
        ([], "init takes either --example or --data"),
        (["--data", "houses.csv"], "--data needs --target"),
        (["--data", "houses.csv", "--target", "zone", "--task", "regression"], "the target does not suit"),
        (["--data", "houses.csv", "--target", "price", "--task", "ranking"], "ranking"),
    ],
)
def test_bad_options(arguments: list[str], message: str, *, table: Path, run_cli, tmp_path: Path):
    """Options that contradict each other or the table are usage errors."""
    done = run_cli("init", "demo", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [table.name]


def test_nothing_is_overwritten(table: Path, run_cli, tmp_path: Path):
    """A folder with a project, or with a file of a project's name, is refused and stays as it is."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/dvc.yaml").write_text("mine")
    done = run_cli("init", "demo", "--data", table, "--target", "price", cwd=tmp_path)
    assert done.returncode == 2
    assert "the folder holds files of those names" in done.stderr
    assert "dvc.yaml" in done.stderr
    assert (tmp_path / "demo/dvc.yaml").read_text() == "mine"
    assert len([*(tmp_path / "demo").iterdir()]) == 1
    for place in (table, table / "demo"):
        done = run_cli("init", place, "--example", "housing", cwd=tmp_path)
        assert done.returncode == 2
        assert "the project's place is taken by a file" in done.stderr


def test_second_project_in_one_place(table: Path, tmp_path: Path):
    """A project is not laid over another one."""
    create_project(tmp_path / "demo", Source(str(table), "price"))
    with pytest.raises(UsageError, match="the folder holds a project already"):
        create_project(tmp_path / "demo", Source(str(table), "price"))


def test_read_only_place(run_cli, read_only_folder: Path):
    """A folder that cannot be written is named."""
    done = run_cli("init", read_only_folder / "demo", "--example", "housing", cwd=read_only_folder.parent)
    assert done.returncode == 1
    assert "the project's folder cannot be made" in done.stderr
    assert str(read_only_folder / "demo") in done.stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc on this system")
def test_place_that_cannot_be_written(run_cli, tmp_path: Path):
    """A place that the system refuses is named, for root as well."""
    done = run_cli("init", "/proc/demo", "--example", "housing", cwd=tmp_path)
    assert done.returncode == 1
    assert "the project's folder cannot be made" in done.stderr
    assert "/proc/demo" in done.stderr


@pytest.mark.parametrize("exists", [True, False])
def test_failure_half_way(exists: bool, table: Path, *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: FBT001 (a parameter)
    """Whatever fails, nothing of a project is left, and what was there before is."""
    root = tmp_path / "demo"
    if exists:
        root.mkdir()
        (root / "notes.txt").write_text("mine")
    move = project._move

    def fails(*arguments: object) -> None:
        move(*arguments)
        raise RuntimeError("the power went")

    monkeypatch.setattr(
        project, "_move" if exists else "_set_up", fails if exists else lambda *_, **__: 1 / 0
    )
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        create_project(root, Source(str(table), "price"))
    assert [path.name for path in root.iterdir()] == ["notes.txt"] if exists else not root.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".modelbook")]


def test_nothing_beside_the_project(table: Path, tmp_path: Path):
    """DVC's cache outside the project, which goes by the path of the temporary folder, is taken away."""
    caches = Path(os.environ["DVC_SITE_CACHE_DIR"]) / "repo"
    before = set(caches.glob("*"))
    created = create_project(tmp_path / "demo", Source(str(table), "price"))
    assert created.git is GitPlace.OWN
    assert set(caches.glob("*")) == before


def test_housing_of_ten_columns(shared_data: Path, run_cli, tmp_path: Path):
    """The census table with a category and missing values is understood as it is."""
    data = shared_data / "housing.csv"
    done = run_cli("--json", "init", "demo", "--data", data, "--target", "median_house_value", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    columns = {column["name"]: column for column in json.loads(done.stdout)["columns"]}
    assert columns["ocean_proximity"]["role"] == "categorical"
    schema = YAML(typ="safe", pure=True).load(tmp_path / "demo/config/config.yaml")["data"]["schema"]
    assert schema["total_bedrooms"] == {"type": "float", "nullable": True, "min": 0}
    shutil.rmtree(tmp_path / "demo/.git")
