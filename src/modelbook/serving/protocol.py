"""The body of a request, in each form of MLflow's scoring protocol, taken apart into columns and params."""

import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from modelbook.config import ColumnType
from modelbook.serving.delimited import read_csv
from modelbook.serving.refusal import MISTAKES_NAMED, Mistake, RequestRefusedError

METHODS = ("predict", "predict_proba")
CSV = "text/csv"
JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"
_FORM = "application/x-www-form-urlencoded"  # what curl says of -d, whatever it holds
_SPLIT_KEYS = frozenset({"columns", "data", "index"})
_SPACED_KEY = re.compile(rb'"[ \t\r\n]+:')
_DIGITS = 19  # an integer of more does not fit into 64 bits

Columns = Mapping[str, Sequence[Any]]
Types = Mapping[str, ColumnType]


class Given(NamedTuple):
    """What a request asks.

    Attributes:
        columns: The values of each column that the model takes, as JSON has them; None where missing.
        rows: How many rows there are.
        method: One of `METHODS`.
    """

    columns: Columns
    rows: int
    method: str = "predict"


def read_body(body: bytes, content_type: str | None, *, types: Types, has_parquet: bool = False) -> Given:
    """Return what the body of a request asks.

    Args:
        body: The body, decompressed.
        content_type: What the client says that it is; without a word, or with that of curl's `-d`, it has to
            be JSON.
        types: The columns that the model takes, with their types.
        has_parquet: Whether Parquet is taken.

    Raises:
        RequestRefusedError: It is not of the protocol, or lacks a column.

    Example:
        >>> body = b'{"dataframe_split": {"columns": ["rooms", "street"], "data": [[3, "A"], [4, "B"]]}}'
        >>> read_body(body, None, types={"rooms": "integer"}).columns
        {'rooms': (3, 4)}
    """
    kind = media_type(content_type)
    if kind in {JSON, ""}:
        return read_json(body, types)
    if kind == CSV:
        return Given(*read_csv(_decoded(body), types))
    if kind == PARQUET and has_parquet:
        from modelbook.serving.parquet import read_parquet

        return Given(*read_parquet(body, types))
    raise RequestRefusedError(f"only {JSON} and {CSV} are taken", status=415, cause="media_type")


def media_type(content_type: str | None) -> str:
    """Return the media type that a header names, in lower case; nothing where JSON may be meant.

    Raises:
        RequestRefusedError: It names another charset than UTF-8, or an unknown parameter.

    Example:
        >>> media_type("Application/JSON; charset=UTF-8"), media_type(None)
        ('application/json', '')
    """
    if content_type is None or content_type == JSON:
        return content_type or ""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    for parameter in filter(None, parameters):
        key, _, value = parameter.partition("=")
        if key.strip() != "charset" or value.strip().strip('"') not in {"utf-8", "utf8"}:
            raise RequestRefusedError(
                "the only parameter that a content type may have is charset=utf-8",
                status=415,
                cause="media_type",
            )
    if kind.startswith("application/") and kind.endswith("+json"):
        return JSON
    return "" if kind == _FORM else kind


def read_json(body: bytes, types: Types) -> Given:
    """Return what a JSON body asks.

    Raises:
        RequestRefusedError: It is no JSON, not of the protocol, or lacks a column.
    """
    document = _parse(body)
    if type(document) is not dict:
        raise _refused("the body is no JSON object")
    keys = len(document)
    method = "predict"
    if "params" in document:
        params = document.pop("params")
        keys += len(params) if type(params) is dict else 0
        method = _method(params)
    if len(document) != 1 or not _SHAPES.keys() >= document.keys():
        raise _refused(f"the body needs exactly one of {', '.join(_SHAPES)}, beside which it may have params")
    ((form, content),) = document.items()
    shape = _SHAPES[form](content, types)
    _check_keys(body, keys + shape.keys)
    return Given(shape.columns, shape.rows, method)


class _Shape(NamedTuple):
    columns: Columns
    rows: int
    keys: int  # of JSON objects in it


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as error:
        if b"NaN" in body:
            return _parse_with_nan(body)
        raise _refused(f"the body is no JSON, from character {error.pos} on", cause="json") from None


def _parse_with_nan(body: bytes) -> Any:
    """Return what JSON says that has NaN where a value is missing, as MLflow's own client writes it."""
    document = _reread(body)
    try:
        orjson.dumps(document)  # which has no word for half a character, unlike what read it here
    except orjson.JSONEncodeError:
        raise _refused("the body is no JSON", cause="json") from None
    return document


def _reread(body: bytes) -> Any:
    try:
        return json.loads(
            body,
            parse_constant=_missing,
            parse_float=_finite,
            parse_int=_bounded_integer,
            object_pairs_hook=_without_duplicates,
        )
    except KeyError:
        raise _refused("a key occurs twice in a JSON object", cause="json") from None
    except (ValueError, RecursionError):
        raise _refused("the body is no JSON", cause="json") from None


def _missing(constant: str) -> None:
    if constant != "NaN":
        raise ValueError("JSON has no infinity")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError("JSON has no infinity")
    return value


def _bounded_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else _finite(digits)


def _check_keys(body: bytes, keys: int) -> None:
    """Return quietly where no JSON object has a key twice.

    Each key that is written has a colon behind it, so as many colons as keys that were read show that none
    was lost. Where text has colons, those behind a quote are counted; in doubt the body is read again.
    """
    if body.count(b":") == keys or (body.count(b'":') == keys and not _SPACED_KEY.search(body)):
        return
    _reread(body)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise KeyError("twice")
    return found


def _method(params: Any) -> str:
    if params is None:
        return "predict"
    if type(params) is dict and params.keys() <= {"method"}:
        method = params.get("method", "predict")
        if type(method) is str and method in METHODS:
            return method
    raise _refused(f"params may have method alone, which is {' or '.join(METHODS)}", cause="params")


def _from_split(content: Any, types: Types) -> _Shape:
    if type(content) is not dict or "data" not in content or not content.keys() <= _SPLIT_KEYS:
        raise _refused("dataframe_split needs columns and data, beside which it may have index")
    names, data = content.get("columns"), content["data"]
    if type(names) is not list or not {str}.issuperset(map(type, names)):
        raise _refused("the columns of dataframe_split are no list of names")
    if type(data) is not list or not {list}.issuperset(map(type, data)):
        raise _refused("the data of dataframe_split is no list of lists")
    if not {len(names)}.issuperset(map(len, data)):
        row = next(number for number, values in enumerate(data) if len(values) != len(names))
        raise _refused(f"row {row} of the data has not as many values as there are columns")
    columns = dict(zip(names, zip(*data, strict=True) if data else [()] * len(names), strict=True))
    if len(columns) != len(names):
        raise _refused("a column occurs twice")
    return _Shape(_chosen(columns, types), len(data), len(content))


def _from_records(content: Any, types: Types) -> _Shape:
    if type(content) is not list or not {dict}.issuperset(map(type, content)):
        raise _refused("the rows are no list of JSON objects")
    keys = sum(map(len, content))
    try:
        columns = {name: list(map(itemgetter(name), content)) for name in types}
    except KeyError:
        raise _incomplete(content, types) from None
    return _Shape(columns, len(content), keys)


def _incomplete(rows: Sequence[Mapping[str, Any]], types: Types) -> RequestRefusedError:
    """Return what is said of rows that lack a column: none is taken for want of what its neighbours have."""
    mistakes: list[Mistake] = []
    found = 0
    for name in types:
        lacking = [number for number, row in enumerate(rows) if name not in row]
        places: Sequence[int | None] = [None] if len(lacking) == len(rows) else lacking
        mistakes += [Mistake(name, place, "missing") for place in places[:MISTAKES_NAMED]]
        found += len(places)
    return RequestRefusedError(
        "columns are missing", cause="columns", mistakes=mistakes, mistakes_found=found
    )


def _from_columns(content: Any, types: Types) -> _Shape:
    """Take a list of values for each column, or one value for each; for one column alone its bare values."""
    if type(content) is list:
        if len(types) != 1 or {dict, list} & set(map(type, content)):
            return _from_records(content, types)
        return _Shape({next(iter(types)): content}, len(content), 0)
    if type(content) is not dict:
        raise _refused("the rows are neither a list nor a JSON object of columns")
    keys = len(content)
    if content and not {list, dict} & set(map(type, content.values())):
        content = {name: [value] for name, value in content.items()}
    columns = _chosen(content, types)
    if not {list}.issuperset(map(type, columns.values())):
        raise _refused("the columns are not all lists of values")
    if len(lengths := set(map(len, columns.values()))) > 1:
        raise _refused("the columns are not all of the same length")
    return _Shape(columns, lengths.pop(), keys)


def _chosen(columns: Mapping[str, Sequence[Any]], types: Types) -> Columns:
    if columns.keys() == types.keys():
        return columns
    if missing := [Mistake(name, None, "missing") for name in types if name not in columns]:
        raise RequestRefusedError("columns are missing", cause="columns", mistakes=missing)
    return {name: columns[name] for name in types}


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refused("the body is no UTF-8", cause="charset") from None


def _refused(what: str, *, cause: str = "body") -> RequestRefusedError:
    return RequestRefusedError(what, cause=cause)


_SHAPES: dict[str, Callable[[Any, Types], _Shape]] = {
    "dataframe_split": _from_split,
    "dataframe_records": _from_records,
    "instances": _from_columns,
    "inputs": _from_columns,
}
