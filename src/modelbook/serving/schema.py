"""The OpenAPI description of a server: the columns of the model that answers, and examples that work."""

import re
from collections.abc import Sequence
from typing import Any

import orjson

from modelbook import __version__
from modelbook.config import ColumnType, Config
from modelbook.records import InputColumn, ModelRecord
from modelbook.serving.current import Current, Serving
from modelbook.serving.manifest import ServedColumn
from modelbook.serving.protocol import CSV, JSON, METHODS

_EXACT = 2**53 - 1
_SYNTAX = re.compile(r"[.^$*+?()\[\]{}|\\]")  # nothing else may have a backslash in a pattern of ECMA-262
# Times that are taken for sure; further spellings of ISO 8601 are, too, and 29 February where there is one.
_DAY = (
    "[12][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_TIME = r"[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?"
_TYPES: dict[ColumnType, dict[str, Any]] = {
    "float": {"type": ["number", "null"]},
    "integer": {"type": ["integer", "null"], "minimum": -_EXACT, "maximum": _EXACT},
    "boolean": {"type": ["boolean", "null"]},
    "string": {"type": ["string", "null"]},
    "datetime": {"type": ["string", "null"], "pattern": f"^{_DAY}({_TIME})?$"},
}
_CELLS: dict[ColumnType, str] = {
    "float": r"(-?[0-9]{1,17}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?)?",
    "integer": "(-?[0-9]{1,15})?",
    "boolean": "(true|false)?",
    "string": r'([^",\r\n]*|"([^"]|"")*")',
    "datetime": f"({_DAY}({_TIME})?)?",
}
_EXAMPLES: dict[ColumnType, Any] = {
    "float": 1.0,
    "integer": 1,
    "boolean": True,
    "string": "text",
    "datetime": "2026-01-31T12:00:00",
}
_REFUSALS = {
    400: "The rows, or the request, are not what the model takes; each mistake names its column and row.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The media type, the charset or the compression is not taken.",
    421: "The server has another name.",
    500: "The model failed.",
    503: "The server is busy, or has no model yet; Retry-After says when to try again.",
    504: "The model did not answer in time.",
}
_STATE = {"200": {"description": "As it should be."}}


class Description:
    """The OpenAPI document, made again when another version answers.

    Args:
        current: The model that answers.
        settings: The project.
    """

    def __init__(self, current: Current, settings: Config) -> None:
        self._current = current
        self._has_keys = bool(settings.serving.api_keys)
        self._made_of: Serving | None = None
        self._document = b""

    def document(self) -> bytes:
        """Return the document as JSON."""
        serving = self._current.serving
        if not self._document or serving is not self._made_of:
            self._document = orjson.dumps(describe(serving, has_keys=self._has_keys))
            self._made_of = serving
        return self._document


def describe(serving: Serving | None, *, has_keys: bool = False) -> dict[str, Any]:
    """Return the OpenAPI document of a server that answers by a version; None is one without any yet.

    Example:
        >>> sorted(describe(None)["paths"])
        ['/health', '/invocations', '/livez', '/metrics', '/ping', '/readyz', '/version']
    """
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": _title(serving), "version": serving.version if serving else __version__},
        "paths": {
            "/invocations": {"post": _invocations(serving, has_keys=has_keys)},
            **_others(has_keys=has_keys),
        },
        "components": {"schemas": {"Refusal": _refusal_schema()}},
    }
    if has_keys:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def row_schema(columns: Sequence[ServedColumn]) -> dict[str, Any]:
    """Return the JSON schema of a row: a property for each column, further ones are not looked at.

    Ranges and categories are those of the rows that came with the model: they describe, and forbid nothing.

    Example:
        >>> rooms = ServedColumn(name="rooms", type="integer", nullable=True, min=1, max=9, example=3)
        >>> row_schema([rooms])["properties"]["rooms"]["description"]
        'integer; from 1 to 9 in training'
    """
    return {
        "type": "object",
        "properties": {column.name: column_schema(column) for column in columns},
        "required": [column.name for column in columns],
    }


def column_schema(column: ServedColumn) -> dict[str, Any]:
    """Return the JSON schema of a column's values."""
    words: list[str] = [column.type]
    schema = dict(_TYPES[column.type])
    if column.min is not None and column.max is not None:
        words.append(f"from {column.min:g} to {column.max:g} in training")
        schema["x-range"] = {"min": column.min, "max": column.max}
    if column.categories is not None:
        words.append("others than these are handled as unknown")
        schema["x-categories"] = list(column.categories)
    if not column.nullable:
        words.append("never missing in training")
    return schema | {"description": "; ".join(words), "examples": [example_of(column)]}


def example_of(column: ServedColumn) -> Any:
    """Return a value that a column takes."""
    return _EXAMPLES[column.type] if column.example is None else column.example


def served_columns(serving: Serving) -> tuple[ServedColumn, ...]:
    """Return what is known of the columns of a version."""
    known = getattr(serving.runtime, "columns", None)
    return known or tuple(_bare(column) for column in serving.runtime.record.inputs)


def _bare(column: InputColumn) -> ServedColumn:
    return ServedColumn(name=column.name, type=column.type, nullable=column.nullable)


def _title(serving: Serving | None) -> str:
    return f"{serving.name}, served by Modelbook" if serving else "Modelbook"


def _invocations(serving: Serving | None, *, has_keys: bool) -> dict[str, Any]:
    statuses = _REFUSALS | ({401: "An API key is needed."} if has_keys else {})
    answer = {"description": "One prediction for each row, in their order."}
    operation: dict[str, Any] = {
        "operationId": "predict",
        "summary": "Predict",
        "description": (
            "Rows in any form of MLflow's scoring protocol. Types are strict: 1.5 is no whole number and "
            '"1" no number; null is a missing value. Columns that the model does not take are not looked at.'
        ),
        "responses": {
            "200": answer | {"content": {JSON: {"schema": _answer_schema(serving)}}, "headers": _headers()},
            **{str(status): _refused(text, status=status) for status, text in sorted(statuses.items())},
        },
    }
    if serving is not None:
        operation["requestBody"] = {"required": True, "content": _request(served_columns(serving))}
    return operation | ({"security": [{"key": []}]} if has_keys else {})


def _request(columns: Sequence[ServedColumn]) -> dict[str, Any]:
    names = [column.name for column in columns]
    values = [example_of(column) for column in columns]
    row = dict(zip(names, values, strict=True))
    examples = {
        "dataframe_split": {"columns": names, "data": [values]},
        "dataframe_records": [row],
        "instances": [row],
        "inputs": row,
    }
    cells = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    return {
        JSON: {
            "schema": {"oneOf": [_form(name, schema) for name, schema in _forms(columns).items()]},
            "examples": {name: {"value": {name: content}} for name, content in examples.items()},
        },
        CSV: {"schema": _csv_schema(columns), "example": f"{_csv(names)}\n{_csv(cells)}"},
    }


def _forms(columns: Sequence[ServedColumn]) -> dict[str, dict[str, Any]]:
    row = row_schema(columns)
    rows = {"type": "array", "items": row}
    plain = {"type": ["number", "string", "boolean", "null"]}
    values = row | {
        "additionalProperties": plain,
        "description": "One value for each column; or a list for each, all of the same length.",
    }
    return {
        "dataframe_split": _split_schema(columns),
        "dataframe_records": rows,
        "instances": {"anyOf": [rows, values]},
        "inputs": {"anyOf": [rows, values]},
    }


def _form(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    method = {"type": "string", "enum": list(METHODS), "default": METHODS[0]}
    params = {
        "type": ["object", "null"],
        "properties": {"method": method},
        "additionalProperties": False,
    }
    return {
        "title": name,
        "type": "object",
        "properties": {name: schema, "params": params},
        "required": [name],
        "additionalProperties": False,
    }


def _split_schema(columns: Sequence[ServedColumn]) -> dict[str, Any]:
    names = [column.name for column in columns]
    row = {
        "type": "array",
        "prefixItems": [column_schema(column) for column in columns],
        "minItems": len(names),
        "maxItems": len(names),
    }
    return {
        "type": "object",
        "properties": {
            "columns": {
                "const": names,
                "description": "In any order, and others beside them, as data has them.",
            },
            "data": {"type": "array", "items": row},
            "index": {"description": "Not looked at."},
        },
        "required": ["columns", "data"],
        "additionalProperties": False,
    }


def _answer_schema(serving: Serving | None) -> dict[str, Any]:
    value = {"type": ["number", "null"]} if serving is None else _prediction(serving.runtime.record)
    probabilities = {"type": "array", "items": {"type": ["number", "null"]}}
    items = (
        value if serving is None or not serving.runtime.record.classes else {"anyOf": [value, probabilities]}
    )
    return {
        "type": "object",
        "properties": {"predictions": {"type": "array", "items": items}},
        "required": ["predictions"],
        "additionalProperties": False,
    }


def _prediction(record: ModelRecord) -> dict[str, Any]:
    if record.task == "regression":
        return {"type": ["number", "null"]}
    return {"enum": list(record.classes)}


def _refusal_schema() -> dict[str, Any]:
    mistake = {
        "type": "object",
        "properties": {
            "column": {"type": "string"},
            "row": {"type": ["integer", "null"], "description": "From 0; null where the column is meant."},
            "problem": {"type": "string"},
        },
    }
    properties = {
        "error_code": {"type": "string"},
        "message": {"type": "string"},
        "mistakes": {"type": "array", "items": mistake, "description": "The first of them."},
        "mistakes_found": {"type": "integer"},
        "request_id": {"type": "string"},
    }
    return {"type": "object", "properties": properties, "required": ["error_code", "message"]}


def _refused(text: str, *, status: int | None = None) -> dict[str, Any]:
    headers = _headers()
    if status == 503:  # noqa: PLR2004 (the one after which to come again)
        headers["Retry-After"] = {"schema": {"type": "string"}, "description": "Seconds."}
    schema = {"$ref": "#/components/schemas/Refusal"}
    return {"description": text, "headers": headers, "content": {JSON: {"schema": schema}}}


def _headers() -> dict[str, Any]:
    text = "The version of the model that answered."
    return {"X-Modelbook-Version": {"schema": {"type": "string"}, "description": text}}


def _others(*, has_keys: bool) -> dict[str, Any]:
    guarded: dict[str, Any] = {"security": [{"key": []}]} if has_keys else {}
    refused = {"421": _refused(_REFUSALS[421])}
    refused |= {"401": _refused("An API key is needed.")} if has_keys else {}
    text = {"text/plain": {"schema": {"type": "string"}}}
    state = {JSON: {"schema": {"type": "object"}}}
    newline: dict[str, Any] = {JSON: {}}
    return {
        path: {"get": {"operationId": path[1:], "summary": summary, "responses": responses} | security}
        for path, summary, responses, security in (
            ("/ping", "Whether there is a model", _answers("404", newline), {}),
            ("/health", "Whether there is a model", _answers("404", newline), {}),
            ("/livez", "Whether the server is alive", _answers(None, state), {}),
            ("/readyz", "Whether new clients are welcome", _answers("503", state), {}),
            ("/version", "The version of MLflow", _answers(None, newline) | refused, guarded),
            ("/metrics", "Counts for Prometheus", _answers(None, text) | refused, guarded),
        )
    }


def _answers(otherwise: str | None, content: dict[str, Any]) -> dict[str, Any]:
    well = {"200": {"description": "Yes.", "content": content}}
    return well | ({otherwise: {"description": "No.", "content": content}} if otherwise else {})


def _csv_schema(columns: Sequence[ServedColumn]) -> dict[str, Any]:
    header = _SYNTAX.sub(r"\\\g<0>", _csv([column.name for column in columns]))
    row = ",".join(_CELLS[column.type] for column in columns)
    words = "A header and rows, as training reads a file; quoted text and other orders of columns, too."
    return {"type": "string", "pattern": f"^{header}(\n{row})*$", "description": words}


def _csv(cells: Sequence[str]) -> str:
    quoted = ('"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\n\r') else cell for cell in cells)
    return ",".join(quoted)
