"""What goes into settings and records comes out again."""

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from modelbook.config import Config, load_config, set_values
from modelbook.records import CodeState, EvaluationReport, GateDecision, GateVerdict

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
COLUMNS = st.fixed_dictionaries(
    {"type": st.sampled_from(["float", "integer", "boolean", "string", "datetime"])},
    optional={
        "nullable": st.booleans(),
        "min": NUMBERS,
        "categories": st.none() | st.lists(NAMES, max_size=3),
        "unique": st.booleans(),
    },
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "project": st.fixed_dictionaries({"name": NAMES}),
        "data": st.fixed_dictionaries({"schema": st.dictionaries(NAMES, COLUMNS, max_size=4)}),
        "split": st.fixed_dictionaries(
            {"test_size": st.floats(0.001, 0.999), "seed": st.integers(0, 2**32 - 1)}
        ),
        "model": st.fixed_dictionaries(
            {"hyperparameters": st.dictionaries(NAMES, st.dictionaries(NAMES, PLAIN, max_size=3), max_size=3)}
        ),
        "training": st.fixed_dictionaries(
            {"time_budget_s": st.floats(0.1, 1e9), "enable_mlflow": st.booleans()}
        ),
        "evaluation": st.fixed_dictionaries(
            {"positive_class": st.none() | NAMES | st.integers() | st.booleans()}
        ),
        "tracking": st.fixed_dictionaries({"experiment": NAMES}),
    },
)


def load(source: object) -> Config:
    return load_config(source, environ={})  # type: ignore[arg-type]


@given(SETTINGS)
def test_settings_load_again(content: dict[str, object]):
    """What a Config says of itself, defaults and all, loads as an equal Config of the same hash."""
    config = load(content)
    again = load(config.as_dict())
    assert again == config
    assert again.sha256 == config.sha256


@settings(max_examples=40)
@given(SETTINGS)
def test_settings_survive_yaml(content: dict[str, object]):
    """The same holds by way of a YAML file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(as_yaml(load(content).as_dict()))
        assert load(path).as_dict() == load(content).as_dict()


FILE = """\
# above everything
project:
  name: houses # beside a value

  # between two values
  task: regression
split: {method: random, test_size: 0.20, seed: 42} # beside a mapping
data:
  query: null
  target: 'price'
  schema:
    # first of all
    price: {type: float}
model:
  hyperparameters:
    ridge:
      alpha: 1.0 # beside the last
# below everything
"""
ASSIGNABLE = {
    "project.name": NAMES,
    "split.seed": st.integers(0, 2**32 - 1),
    "split.test_size": st.floats(0.001, 0.999),
    "data.query": st.none() | NAMES,
    "data.schema.price.min": st.none() | NUMBERS,
    "model.hyperparameters.ridge.alpha": PLAIN,
    "training.cv_folds": st.integers(2, 100),
}


@settings(max_examples=40)
@given(st.fixed_dictionaries({}, optional=ASSIGNABLE))
def test_writing_settings_keeps_the_rest(values: dict[str, object]):
    """Written settings are there, and every comment and every other setting is as it was."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(FILE)
        expected = load(path).as_dict()
        set_values(path, {key: as_yaml(value) for key, value in values.items()})
        for key, value in values.items():
            *parents, last = key.split(".")
            section = expected
            for part in parents:
                section = section[part]
            section[last] = value
        assert load(path).as_dict() == expected
        comments = [line.partition("# ")[2] for line in FILE.splitlines() if "# " in line]
        assert all(f"# {comment}\n" in path.read_text() for comment in comments)


def as_yaml(value: object) -> str:
    """Return a value as it may stand on the command line: as JSON, with YAML's escapes."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isascii() else f"\\U{ord(letter):08x}" for letter in text)


@given(st.dictionaries(NAMES, st.floats()), st.text(), st.sampled_from(GateVerdict))
def test_records_of_any_numbers(metrics: dict[str, float], name: str, verdict: GateVerdict):
    """A record comes back from JSON as it was, NaN and the infinities included."""
    report = EvaluationReport(
        run_id=name,
        uid=name,
        metrics=metrics,
        threshold_checks={name: True},
        all_checks_passed=True,
        gate=GateDecision(verdict=verdict, checks=()),
    )
    back = EvaluationReport.model_validate_json(report.model_dump_json())
    assert back.model_copy(update={"metrics": {}}) == report.model_copy(update={"metrics": {}})
    assert back.metrics.keys() == metrics.keys()
    assert all(back.metrics[key] == value or math.isnan(value) for key, value in metrics.items())
    assert all(math.isnan(back.metrics[key]) for key, value in metrics.items() if math.isnan(value))


@given(st.binary(), st.none() | st.text())
def test_records_of_any_bytes(patch: bytes, branch: str | None):
    """A record comes back from JSON as it was, whatever its bytes and texts."""
    state = CodeState(commit="0" * 40, branch=branch, is_dirty=True, patch=patch)
    assert CodeState.model_validate_json(state.model_dump_json()) == state
