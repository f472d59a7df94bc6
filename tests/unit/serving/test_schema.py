"""The description of a model's columns."""

import json
import re
import shutil
import subprocess

import jsonschema_rs
import pytest
from starlette.testclient import TestClient

from modelbook.config import Config
from modelbook.records import InputColumn
from modelbook.serving.app import make_app
from modelbook.serving.current import Current, Serving
from modelbook.serving.manifest import ServedColumn
from modelbook.serving.schema import describe

ODD_NAMES = ["a b", "x-y", 'the "long", one', "<1H OCEAN", "straße/№", "a.b^$*+?(){}[]|\\c", "1/2", "#&~@"]
EXAMPLES = {
    "string": ["<1H OCEAN", 'a "b", c', "", "Ørsted\nParis", "-", " x "],
    "float": [1e-05, -0.0001234567890123456, 123456789012.25, 2.5e30, 7, 12345678901234567.0],
    "integer": [-3, 10**14, None],
    "boolean": [True, False],
    "datetime": ["2026-01-31T12:00:00", "1999-12-31", None],
}
CASES = [(kind, example) for kind, examples in EXAMPLES.items() for example in examples]


@pytest.fixture
def model(make_runtime):
    """Return a model whose columns have odd names, and as many examples as there are types."""
    runtime = make_runtime()
    pairs = [*zip(ODD_NAMES * 3, CASES, strict=False)]
    columns = [
        {"name": f"{name} {place}", "type": kind, "nullable": True}
        for place, (name, (kind, _)) in enumerate(pairs)
    ]
    runtime.columns = tuple(
        ServedColumn(**column, example=example)
        for column, (_, (_, example)) in zip(columns, pairs, strict=True)
    )
    inputs = tuple(InputColumn(**column) for column in columns)
    runtime.record = runtime.record.model_copy(update={"inputs": inputs})
    runtime.predict = lambda rows, **_: type(runtime).predict(runtime, {"rooms": next(iter(rows.values()))})
    return Serving(runtime, "houses", "7")


def content_of(model) -> dict:
    return describe(model)["paths"]["/invocations"]["post"]["requestBody"]["content"]


def test_examples_are_of_their_schema_and_are_answered(model) -> None:
    """Each example is what the schema says of it, whatever columns are called, and the server takes it."""
    current = Current()
    current.swap(model)
    content = content_of(model)
    told = content["application/json"]
    assert len(told["examples"]) == 4
    with TestClient(make_app(current, Config()), base_url="http://localhost") as client:
        for name, example in told["examples"].items():
            jsonschema_rs.validate(told["schema"], example["value"])
            assert client.post("/invocations", json=example["value"]).status_code == 200, name
        text = content["text/csv"]["example"]
        jsonschema_rs.validate(content["text/csv"]["schema"], text)
        kind = {"content-type": "text/csv"}
        answer = client.post("/invocations", content=text.encode(), headers=kind)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_one_value_for_each_column_is_described(model, form) -> None:
    """Values and rows are both of the schema; what is neither is not."""
    told = content_of(model)["application/json"]
    row = told["examples"]["inputs"]["value"]["inputs"]
    for content, is_valid in ((row, True), ([row], True), (row | {"more": [1]}, False), ({}, False)):
        assert jsonschema_rs.is_valid(told["schema"], {form: content}) == is_valid


def patterns_in(document) -> list[str]:
    if isinstance(document, list):
        return [pattern for part in document for pattern in patterns_in(part)]
    if not isinstance(document, dict):
        return []
    own = [value for key, value in document.items() if key == "pattern" and isinstance(value, str)]
    return own + patterns_in(list(document.values()))


def test_patterns_are_ecmas(model) -> None:
    """Programs that read the document in JavaScript compile its patterns: a backslash is for syntax alone."""
    patterns = patterns_in(describe(model))
    assert len(patterns) > 3
    for pattern in patterns:
        assert set(re.findall(r"\\(.)", pattern)) <= set("rn.^$*+?()[]{}|\\")
    if shutil.which("node"):
        script = f"for (const text of {json.dumps(patterns)}) new RegExp(text, 'u')"
        subprocess.run(["node", "-e", script], check=True, timeout=20)
