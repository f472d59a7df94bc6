import re
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from pydantic import BaseModel
from ruamel.yaml import YAML

from modelbook.cli.main import app
from modelbook.config import ColumnSchema, Config, load_config, set_values
from modelbook.scaffold.facts import measure
from modelbook.scaffold.profile import Profile, decide
from modelbook.scaffold.render import as_yaml, render_project
from modelbook.scaffold.settings import plain_name, settle
from modelbook.scaffold.source import Provenance, Source

STRANGE = [
    "price: net",
    "# of rooms",
    "naïve 价",
    'say "hi"',
    "it's",
    "- dash",
    "true",
    "3",
    "? a",
    "a\nb",
    "\x85",
    "",
]


def lay_down(root: Path, table: dict[str, list[Any]], *, source: Source | None = None) -> Profile:
    source = source or Source("table.csv", "y")
    profile = decide(measure(pl.LazyFrame(table)), target=source.target)
    settings = settle(source, Provenance(source.raw), name=root.name)
    render_project(root, settings, profile=profile, today=date(2026, 1, 2))
    return profile


def keys_of(settings: Any, prefix: str = "") -> set[str]:
    if not isinstance(settings, dict) or not settings:
        return {prefix}
    return {key for name, value in settings.items() for key in keys_of(value, f"{prefix}.{name}")}


def keys_of_model(model: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        path = f"{prefix}.{field.alias or name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.model_fields:
            found |= keys_of_model(kind, path)
        else:
            found.add(path)
    return found


def test_every_setting_is_listed(tmp_path: Path):
    """config.yaml names every setting that there is, each with a comment on its line or above it."""
    lay_down(tmp_path, {"y": [0.5, 1.5, 2.5], "x": [1.5, 2.5, 1.5]})
    written = YAML(typ="safe", pure=True).load(tmp_path / "config/config.yaml")
    listed = keys_of(written)
    assert not {key for key in keys_of_model(Config) if not any(one.startswith(key) for one in listed)}


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_valid(task: str, tmp_path: Path):
    """What is written is valid, for both tasks."""
    target = [0.5, 1.5, 2.5] * 9 if task == "regression" else ["a", "b", "c"] * 9
    lay_down(tmp_path, {"y": target, "x": [1.5, 2.5, 1.5] * 9})
    config = load_config(tmp_path)
    assert config.project.task == task
    assert config.features.columns == ("x",)
    is_regression = task == "regression"
    assert config.model.chosen == {"n_estimators": 300} | ({"max_features": 0.33} if is_regression else {})


def test_strange_names_survive(tmp_path: Path):
    """Column names with quotes, colons, line breaks and other alphabets come back as they are."""
    table = {name: [0.5, 1.5, 2.5] * 9 for name in STRANGE}
    lay_down(tmp_path, table | {"y": [0.5, 1.5, 2.5] * 9})
    config = load_config(tmp_path)
    assert config.features.numeric.columns == tuple(STRANGE)
    assert [*config.data.columns] == [*STRANGE, "y"]


def test_strange_values_stay_in_their_comment(tmp_path: Path):
    """Categories are told in a comment; a line break in one does not end it."""
    lay_down(tmp_path, {"y": [0.5, 1.5, 2.5] * 9, "kind": ["a\nhack: 1", "b\x85c", "#"] * 9})
    text = (tmp_path / "config/config.yaml").read_text()
    assert "# seen: #, a hack: 1, b c\n" in text
    assert load_config(tmp_path).data.columns["kind"] == ColumnSchema(type="string", nullable=False)


def test_left_out_with_reason(tmp_path: Path):
    """Columns that are not used stand there with the reason."""
    lay_down(tmp_path, {"y": [0.5, 1.5, 2.5], "x": [1.5, 2.5, 1.5], "id": [1, 2, 3]})
    assert load_config(tmp_path).features.left_out == {"id": "an id: counts the rows"}


def test_set_keeps_it_valid(tmp_path: Path):
    """A setting written by --set leaves the rest of the file as it was."""
    lay_down(tmp_path, {"y": [0.5, 1.5, 2.5], "x": [1.5, 2.5, 1.5]})
    path = tmp_path / "config/config.yaml"
    before = path.read_text().splitlines()
    set_values(path, {"training.cv_folds": "5"})
    changed = [
        (old, new) for old, new in zip(before, path.read_text().splitlines(), strict=True) if old != new
    ]
    assert [(old.split("#")[0].strip(), new.split("#")[0].strip()) for old, new in changed] == [
        ("cv_folds: 0", "cv_folds: 5")
    ]


def test_examples_have_limits(tmp_path: Path):
    """The housing example names its limits, forest and model."""
    table = {"median_house_value": [0.5, 1.5, 2.5], "x": [1.5, 2.5, 1.5]}
    lay_down(tmp_path, table, source=Source("housing", "median_house_value", is_example=True))
    config = load_config(tmp_path)
    assert config.evaluation.thresholds["rmse"].max == 60_000
    assert config.evaluation.thresholds["r2_score"].min == 0.7
    assert config.model.chosen == {"n_estimators": 300, "max_depth": 20, "max_features": 0.5}
    assert config.tracking.experiment == "housing_price_prediction"
    assert config.tracking.model_name == "housing_price_predictor"


@pytest.mark.parametrize(
    "value", [*STRANGE, None, 3, 0.5, True, {"min": 0.5}, "x" * 900, "\u2028", "*a", "!b", "%"]
)
def test_yaml_round_trip(value: Any):
    """A value written on a line, with a comment behind, is read back as it was."""
    for text in (f"key: {as_yaml(value)} # comment\n", f"key:\n  - {as_yaml(value)} # comment\n"):
        read = YAML(typ="safe", pure=True).load(text)["key"]
        assert (read[0] if isinstance(read, list) else read) == value


@pytest.mark.parametrize(
    ("folder", "name"), [("demo", "demo"), ("my project", "my_project"), ("a/b:c", "a_b_c"), ("..", "model")]
)
def test_plain_name(folder: str, name: str):
    """Experiments and models get a name that MLflow accepts."""
    assert plain_name(folder) == name


def test_user_code_imports_nothing(tmp_path: Path):
    """features.py is Python that does nothing until its examples are uncommented."""
    lay_down(tmp_path, {"y": [0.5, 1.5, 2.5], "x": [1.5, 2.5, 1.5]})
    text = (tmp_path / "features.py").read_text()
    names: dict[str, Any] = {}
    exec(compile(text, "features.py", "exec"), names)  # noqa: S102 (what was just written)
    assert set(names) - {"__builtins__", "__doc__"} == set()
    uncommented = "\n".join(line.removeprefix("# ").removeprefix("#") for line in text.splitlines())
    compile(uncommented, "features.py", "exec")


def test_commands_exist(tmp_path: Path):
    """Every command that a project's files name is one that there is."""
    lay_down(tmp_path, {"y": [0.5, 1.5, 2.5], "x": [1.5, 2.5, 1.5]})
    text = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    named = set(re.findall(r"(?:^    |`)modelbook ([a-z]+)", text, re.MULTILINE))
    told = {"run", "runs", "report", "compare", "sweep", "promote", "serve", "predict", "sync", "doctor"}
    assert told <= named
    assert named <= set(typer.main.get_command(app).commands)


def test_readme_tells_to_commit(tmp_path: Path):
    """The README has the command that commits a run."""
    lay_down(tmp_path, {"y": [0.5, 1.5, 2.5], "x": [1.5, 2.5, 1.5]})
    text = (tmp_path / "README.md").read_text()
    assert "\n    git add dvc.lock config data features.py && git commit -m 'Train a model'\n" in text
    assert "dvc metrics diff" in text
