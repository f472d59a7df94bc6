import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelbook.config import changes, load_config, mask_password, set_values, spell
from modelbook.errors import ConfigError, NotFoundError
from modelbook.records import Record

TEXT = """\
# The settings of this project.
project:
  name: "houses" # in quotes
  task: regression

data:
  schema: # what is expected
    area: {type: float, min: 0}
    price: {type: float}
  target: price
  query: null # none
features:
  numeric:
    columns:
      - area
model:
  algorithm: ridge
  hyperparameters:
    ridge: {alpha: 1}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config" / "config.yaml"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


# --- Reading


def test_each_way_to_name_a_project(path: Path, monkeypatch: pytest.MonkeyPatch):
    """A project is named by its folder, its config file or, in its folder, the settings themselves."""
    root = path.parents[1]
    monkeypatch.chdir(root)
    for source in (root, str(root), path, "config/config.yaml", "."):
        config = load_config(source)
        assert config.root == root
        assert config.project.name == "houses"
        assert config.path("logs") == root / "logs"
    assert load_config({}).root == root
    assert load_config(config) is config


def test_no_config_file(tmp_path: Path):
    """A folder without settings is no project, and what to do is said."""
    with pytest.raises(NotFoundError) as caught:
        load_config(tmp_path)
    assert caught.value.where == str(tmp_path / "config/config.yaml")
    assert "modelbook init DIR" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        ("split:\n  seed: 1\n  seed: 2\n", 'line 3, column 3: found duplicate key "seed"'),
        ("split:\n\tseed: 1\n", "line 2, column 1: found character '\\t'"),
        ("project: {name: a: b}\n", "line 1, column 18: expected ',' or '}'"),
        ("split: *other\n", "line 1, column 8: found undefined alias 'other'"),
        ("split: {}\n---\nsplit: {}\n", "line 2, column 1: but found another document"),
        (
            "project: !!python/object/apply:os.system [ls]\n",
            "line 1, column 10: could not determine a constructor",
        ),
        ("project: {name: a\0}\n", "unacceptable character #x0000"),
        ("data: {target: 2020-13-45}\n", "month must be in 1..12"),
        (f"split: {{seed: {'9' * 5000}}}\n", "Exceeds the limit"),
        ("[" * 600, "it is nested too deeply"),
    ],
)
def test_what_is_not_yaml(path: Path, content: str, mistake: str):
    """A file that is not YAML is refused with the place in it, where YAML's reader knows it."""
    path.write_text(content)
    with pytest.raises(ConfigError, match="is not YAML") as caught:
        load_config(path)
    assert caught.value.where == str(path)
    assert caught.value.mistakes[0].startswith(mistake)
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", "# nothing\n", "text\n", "- 1\n"])
def test_what_is_no_mapping(path: Path, content: str):
    """A file without sections is refused."""
    path.write_text(content)
    with pytest.raises(ConfigError, match="not a mapping of sections"):
        load_config(path)


def test_what_is_not_text(path: Path):
    """A file in another encoding is refused, and a folder of the file's name too."""
    path.write_bytes("name: Zürich".encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)
    path.unlink()
    path.mkdir()
    (path / "config").mkdir()
    (path / "config" / "config.yaml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)


def test_the_mistakes_name_the_file(path: Path):
    """Mistakes name the config file also where the folder was given."""
    path.write_text("splitt: {}\n")
    with pytest.raises(ConfigError, match="1 mistake\n") as caught:
        load_config(path.parents[1])
    assert caught.value.where == str(path)


def test_words_of_yaml(path: Path):
    """YAML 1.2 is read: no and yes are text, 0o17 is fifteen, a merge key and a byte order mark are known."""
    path.write_bytes(
        b"\xef\xbb\xbfproject: {name: no}\nsplit: &same {seed: 0o17}\ntraining: {<<: *same, n_jobs: 1_0}\n"
    )
    config = load_config(path)
    assert (config.project.name, config.split.seed) == ("no", 15)
    assert (config.training.seed, config.training.n_jobs) == (15, 10)


# --- The tracking store


@pytest.mark.parametrize(
    ("uri", "variable", "expected"),
    [
        (None, None, "sqlite:///{root}/logs/mlflow.db"),
        ("sqlite:///logs/other.db", None, "sqlite:///{root}/logs/other.db"),
        ("sqlite:////srv/mlflow.db", None, "sqlite:////srv/mlflow.db"),
        ("https://mlflow.example.org", None, "https://mlflow.example.org"),
        ("https://mlflow.example.org", "", "https://mlflow.example.org"),
        ("https://mlflow.example.org", "postgresql://localhost/db", "postgresql://localhost/db"),
        (None, "sqlite:///mine.db", "sqlite:///mine.db"),
    ],
)
def test_which_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, uri, variable, expected):
    """MLFLOW_TRACKING_URI wins; a SQLite file in the settings is looked for from the project's folder."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    config = load_config(
        {"tracking": {"uri": uri}}, environ={} if variable is None else {"MLFLOW_TRACKING_URI": variable}
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert config.tracking_uri == expected.format(root=tmp_path)
    assert config.as_dict()["tracking"]["uri"] == uri


def test_the_environment_is_looked_up_when_settings_are_read(monkeypatch: pytest.MonkeyPatch):
    """MLFLOW_TRACKING_URI counts as it is when the settings are read."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one")
    config = load_config({})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://two")
    assert (config.tracking_uri, load_config({}).tracking_uri) == ("http://one", "http://two")


# --- The hash and what is kept from sight


def test_the_hash_is_the_same_everywhere(path: Path):
    """The hash does not depend on the process, the folder, the order of keys or the store in use."""
    code = "import sys; from modelbook.config import load_config; print(load_config(sys.argv[1]).sha256)"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env=os.environ | {"PYTHONHASHSEED": seed, "MLFLOW_TRACKING_URI": f"http://host{seed}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    config = load_config(path)
    backwards = {key: config.as_dict()[key] for key in reversed(config.as_dict())}
    assert hashes == {config.sha256} == {load_config(backwards).sha256}


def test_the_hash_follows_the_settings_but_not_the_secrets(path: Path):
    """Another setting is another hash, another password is not."""
    before = load_config(path).sha256
    set_values(path, {"training.seed": "7"})
    assert load_config(path).sha256 != before
    uris = [f"postgresql://ann:{word}@localhost/db" for word in ("one", "two")]
    assert len({load_config({"tracking": {"uri": uri}}).sha256 for uri in uris}) == 1


def test_numbers_of_any_size_have_a_hash():
    """A number beyond 64 bits is a setting like another."""
    assert load_config({"model": {"hyperparameters": {"ridge": {"alpha": 10**40}}}}).sha256


def test_what_is_no_finite_number_counts():
    """`.inf`, `-.inf`, `.nan` and `null` are four settings, each with a hash that its record has too."""

    class Recorded(Record):
        config: dict[str, Any]

    values = {math.inf: "Infinity", -math.inf: "-Infinity", math.nan: "NaN", None: None}
    hashes = set()
    for value, written in values.items():
        config = load_config({"model": {"hyperparameters": {"linear": {"C": value, "all": [value, 1e300]}}}})
        recorded = Recorded.model_validate_json(Recorded(config=config.as_dict()).model_dump_json()).config
        assert recorded["model"]["hyperparameters"]["linear"] == {"C": written, "all": [written, 1e300]}
        assert hashlib.sha256(json.dumps(recorded, sort_keys=True).encode()).hexdigest() == config.sha256
        hashes.add(config.sha256)
    assert len(hashes) == 4


def test_finite_settings_have_the_hash_that_they_had():
    """Settings of finite numbers are hashed as Python's own JSON of them."""
    config = load_config({"model": {"hyperparameters": {"ridge": {"alpha": 0.1, "grid": [1, 2.5, None]}}}})
    dumped = json.dumps(config.model_dump(by_alias=True), sort_keys=True)
    assert config.sha256 == hashlib.sha256(dumped.encode()).hexdigest()


def test_settings_show_no_password():
    """The settings as a dictionary hold neither the source's password nor the store's."""
    url = "postgresql://ann:hush@localhost/db"
    assert "hush" not in str(load_config({"data": {"source": url}, "tracking": {"uri": url}}).as_dict())


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("data.source", "postgresql://ann:hush@host/db"),
        ("tracking.uri", "https://ann:hush@host"),
        ("tracking.uri", "mysql+pymysql://host/db?user=ann&password=hush"),
    ],
)
def test_a_password_in_the_file_is_refused(path: Path, key: str, url: str):
    """A password in config.yaml, which dvc.lock and patches would quote, is refused and not repeated.

    It used to be accepted, written by `--set` and sent to the tracking server with every run.
    """
    section, name = key.split(".")
    entry = f"{section}:\n  {name}: '{url}'\n"
    before = TEXT.replace("data:\n", f"data:\n  {name}: '{url}'\n") if section == "data" else TEXT + entry
    with pytest.raises(ConfigError) as caught:
        set_values(path, {key: url})
    assert path.read_text() == TEXT
    path.write_text(before)
    with pytest.raises(ConfigError, match=key):
        load_config(path)
    assert caught.value.exit_code == 2
    assert "hush" not in str(caught.value)
    set_values(path, {key: "postgresql://ann@host/db"})
    assert load_config(path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann@host:5432/db?sslmode=require",
        "postgresql://ann:***@host/db",
        "https://ann@host/t.csv?sig=x",
        "mysql://host/db?password=***",
        "data/raw/a:b@c.csv",
    ],
)
def test_an_address_without_a_password_is_none(path: Path, url: str):
    """A user, a port, a token of a URL and what is masked already are taken as they are."""
    set_values(path, {"data.source": f"'{url}'", "data.raw": "data/raw/t.csv"})
    assert load_config(path).data.source == url


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        (None, None),
        ("data/raw/a@b:c.csv", "data/raw/a@b:c.csv"),
        ("http://host:5000/a@2.csv", "http://host:5000/a@2.csv"),
        ("http://[::1]:5000/a@2", "http://[::1]:5000/a@2"),
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        ("postgresql://ann:hush@host:5432/db", "postgresql://ann:***@host:5432/db"),
        ("postgresql://:hush@host/db", "postgresql://:***@host/db"),
        ("postgresql://ann:hu@sh@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann:hu/s?h#[@host/db", "postgresql://ann:***@host/db"),
        ("http://ann:hush@[::1]:80/x", "http://ann:***@[::1]:80/x"),
        ("mysql+pymysql://h/db?user=u&password=hush", "mysql+pymysql://h/db?user=***&password=***"),
        ("https://host/t.csv?sig=hush#part", "https://host/t.csv?sig=***#part"),
        ("https://hush@host/t.csv", "https://***@host/t.csv"),
        ("tracking.uri=http://ann:hush@host", "tracking.uri=http://ann:***@host"),
    ],
)
def test_passwords_are_masked(url, masked):
    """Of a URL everything shows but its password, a token before @ and the values of its query."""
    assert mask_password(url) == masked


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (False, "false"), (1.0, "1.0"), ("no", "no"), (["é", 1], '["é", 1]')],
)
def test_settings_are_spelled_as_in_yaml(value, text):
    """A setting is shown as the config file has it."""
    assert spell(value) == text


# --- Writing


@pytest.mark.parametrize(
    ("key", "text", "old", "new"),
    [
        ("project.name", "flats", "houses", "flats"),
        ("project.name", "'a: b'", "houses", "a: b"),
        ("data.schema.area.min", "-1.5", 0, -1.5),
        ("data.schema.town.type", "string", None, "string"),
        ("data.source", "postgresql://ann@host:5432/db", None, "postgresql://ann@host:5432/db"),
        ("data.query", "select 1", None, "select 1"),
        ("features.numeric.columns", "[]", ["area"], []),
        (
            "features.left_out",
            "{id: an id, ':x': '?', é: 'no: 1'}",
            None,
            {"id": "an id", ":x": "?", "é": "no: 1"},
        ),
        ("model.hyperparameters.ridge.alpha", "[{}, null, [null]]", 1, [{}, None, [None]]),
        ("model.hyperparameters.ridge.alpha", "1.0", 1, 1.0),
        ("model.hyperparameters.ridge.alpha", "true", 1, True),
        ("model.hyperparameters.ridge.alpha", "null", 1, None),
        ("model.hyperparameters.ridge.alpha", "", 1, None),
        ("model.hyperparameters.lightgbm.num_leaves", "7", None, 7),
    ],
)
def test_a_setting_is_written(path: Path, *, key: str, text: str, old: object, new: object):
    """A value is read as YAML and written, and what it was and is comes back."""
    assert set_values(path, {key: text}) == {key: (old, new)}
    written = load_config(path).as_dict()
    for part in key.split("."):
        written = written[part]
    assert (type(written), written) == (type(new), new)


def test_only_that_line_changes(path: Path):
    """Comments, quotes, nulls and layout stay as they were."""
    set_values(path, {"model.algorithm": "lasso"})
    assert path.read_text() == TEXT.replace("algorithm: ridge", "algorithm: lasso")


def test_lists_and_mappings_are_written_on_one_line(path: Path):
    """A list or a mapping takes one line, its texts in quotes where they are no words."""
    set_values(path, {"data.schema.town": "{type: string, categories: [Brno, Bad Ems]}"})
    assert '    town: {type: string, categories: [Brno, "Bad Ems"]}\n' in path.read_text()


def test_what_would_read_otherwise_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where YAML's writer makes something else of a value, the file stays as it was."""
    monkeypatch.setattr(changes, "_on_one_line", lambda _: "something else")
    with pytest.raises(ConfigError, match="cannot be written so that it reads as given"):
        set_values(path, {"project.name": "flats"})
    assert path.read_text() == TEXT


def test_the_same_value_changes_nothing(path: Path):
    """A value that is there already is no change, and the file is not written."""
    path.write_text(TEXT.replace("  - area", "- area"))  # a layout that would not survive writing
    before = path.stat()
    assert set_values(path, {"model.algorithm": "ridge", "data.query": "null"}) == {}
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("training.sed", "1", "training.sed: unknown key"),
        ("nothing", "1", "nothing: unknown key"),
        ("project..name", "a", "project.: unknown key"),
        ("project.name.first", "a", "project.name: input should be text"),
        ("training.seed", "seven", "training.seed: input should be a whole number, got 'seven'"),
        ("training", "1", "training: input should be a mapping, got 1"),
        ("project.name", "a: b", "project.name: input should be text"),
        ("project.name", "[a", "project.name: line 1, column 3:"),
        ("project.name", "- a\nb", "project.name: line 2, column 2:"),
        ("data.target", "2020-13-45", "data.target: month must be in 1..12"),
    ],
)
def test_a_wrong_setting_is_refused(path: Path, *, key: str, text: str, words: str):
    """A key that does not exist or a value that is not taken is named, and nothing at all is written."""
    with pytest.raises(ConfigError) as caught:
        set_values(path, {"split.seed": "7", key: text})
    assert caught.value.mistakes[0].startswith(words)
    assert path.read_text() == TEXT


def test_writing_into_what_is_no_config(path: Path):
    """A file that is wrong already is not written to."""
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="not a mapping"):
        set_values(path, {"split.seed": "7"})
    path.unlink()
    with pytest.raises(NotFoundError):
        set_values(path, {"split.seed": "7"})


def test_a_linked_config(path: Path):
    """Settings that lie elsewhere, behind a symbolic link, are written there; permissions stay."""
    shared = path.with_name("shared.yaml")
    path.rename(shared)
    shared.chmod(0o600)
    path.symlink_to(shared.name)
    set_values(path, {"split.seed": "7"})
    assert path.is_symlink()
    assert load_config(shared).split.seed == 7
    assert shared.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("training.seed", ["training", "seed"]),
        ('data.schema."area.m2".min', ["data", "schema", "area.m2", "min"]),
        ('data.schema."area.m2"', ["data", "schema", "area.m2"]),
        ('data.schema.a"b".min', ["data", "schema", 'a"b"', "min"]),
        ('data.schema."a"b.min', ["data", "schema", '"a"b', "min"]),
        ("project..name", ["project", "", "name"]),
        ("", [""]),
    ],
)
def test_the_names_of_a_key(key: str, names: list[str]):
    """A dotted key falls into names at its dots, but for those inside double quotes."""
    assert changes._names(key) == names


def test_a_column_with_dots_in_its_name(path: Path):
    """A column whose name has dots and an equals sign is reached by its name in double quotes."""
    key = 'data.schema."area=m.2".type'
    assert set_values(path, {key: "float"}) == {key: (None, "float")}
    assert load_config(path).data.columns["area=m.2"].type == "float"
