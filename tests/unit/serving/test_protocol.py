"""The forms of a request, and what is no request."""

import json
import time

import pytest

from modelbook.serving.protocol import media_type, read_body
from modelbook.serving.refusal import RequestRefusedError

TYPES = {"rooms": "integer", "zone": "string"}
WELL = {"rooms": [3, None], "zone": ["a", "b"]}


def read(body, content_type="application/json", types=TYPES):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_body(content, content_type, types=types)


def refusal(body, content_type="application/json", types=TYPES) -> RequestRefusedError:
    with pytest.raises(RequestRefusedError) as caught:
        read(body, content_type, types)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["rooms", "zone"], "data": [[3, "a"], [None, "b"]]}},
        {
            "dataframe_split": {
                "columns": ["zone", "x", "rooms"],
                "index": [7, 9],
                "data": [["a", 1, 3], ["b", 2, None]],
            }
        },
        {"dataframe_records": [{"rooms": 3, "zone": "a"}, {"rooms": None, "zone": "b", "other": 1}]},
        {"instances": [{"rooms": 3, "zone": "a"}, {"rooms": None, "zone": "b"}]},
        {"inputs": [{"rooms": 3, "zone": "a"}, {"rooms": None, "zone": "b"}]},
        {"inputs": {"zone": ["a", "b"], "rooms": [3, None]}},
        {"params": None, "inputs": {"zone": ["a", "b"], "rooms": [3, None]}},
        {"params": {"method": "predict"}, "inputs": {"zone": ["a", "b"], "rooms": [3, None]}},
    ],
    ids=["split", "split_mixed", "records", "instances", "inputs", "columns", "params_null", "params"],
)
@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=UTF-8", None, "application/x-www-form-urlencoded"],
)
def test_every_form_gives_the_same_columns(body, content_type) -> None:
    """Rows are the same however they are written, and whatever else they have."""
    given = read(body, content_type)
    assert {name: list(values) for name, values in given.columns.items()} == WELL
    assert (given.rows, given.method) == (2, "predict")


def test_params_ask_for_probabilities() -> None:
    """`params` say which method is meant."""
    body = {"params": {"method": "predict_proba"}, "inputs": {"zone": ["a"], "rooms": [1]}}
    assert read(body).method == "predict_proba"


def test_a_record_lacks_nothing_for_which_its_neighbours_stand_in() -> None:
    """Whether a record is taken does not depend on those beside it; each place is named."""
    error = refusal({"instances": [{"zone": "a"}, {"rooms": 1}, {"rooms": 2, "zone": "b"}]})
    assert error.mistakes == (("rooms", 0, "missing"), ("zone", 1, "missing"))
    many = refusal({"instances": [{"zone": "a"}] * 1000 + [{"rooms": 1}]})
    assert (len(many.mistakes), many.mistakes_found) == (20, 1001)


def test_one_value_for_each_column_is_a_row() -> None:
    """`inputs` may be one row."""
    assert read({"inputs": {"rooms": 3, "zone": None}}).columns == {"rooms": [3], "zone": [None]}


def test_a_model_of_one_column_takes_bare_values() -> None:
    """Where there is one column, its values need no name."""
    assert read({"instances": [1, 2]}, types={"rooms": "integer"}).columns == {"rooms": [1, 2]}


@pytest.mark.parametrize("form", ["dataframe_records", "instances", "inputs"])
def test_no_rows_are_none(form) -> None:
    """A list of rows may be empty."""
    assert read({form: []}).rows == 0


def test_no_rows_with_columns_are_none() -> None:
    """A table may be empty."""
    assert read({"dataframe_split": {"columns": ["rooms", "zone"], "data": []}}).rows == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "no JSON object"),
        ({}, "exactly one of"),
        ({"inputs": {}, "instances": []}, "exactly one of"),
        ({"inputs": {}, "else": 1}, "exactly one of"),
        ({"inputs": {}}, "column 'rooms': missing; column 'zone': missing"),
        ({"inputs": {"rooms": [1]}}, "column 'zone': missing"),
        ({"inputs": {"rooms": [1], "zone": []}}, "same length"),
        ({"inputs": {"rooms": [1], "zone": "a"}}, "all lists"),
        ({"inputs": 3}, "neither a list nor"),
        ({"instances": [[1, "a"]]}, "no list of JSON objects"),
        ({"dataframe_records": {}}, "no list of JSON objects"),
        ({"dataframe_records": [{"rooms": 1}]}, "column 'zone': missing"),
        ({"dataframe_split": []}, "needs columns and data"),
        ({"dataframe_split": {"columns": []}}, "needs columns and data"),
        ({"dataframe_split": {"data": []}}, "no list of names"),
        ({"dataframe_split": {"columns": [1], "data": []}}, "no list of names"),
        ({"dataframe_split": {"columns": ["rooms"], "data": "ab"}}, "no list of lists"),
        ({"dataframe_split": {"columns": ["rooms"], "data": ["a"]}}, "no list of lists"),
        ({"dataframe_split": {"columns": ["rooms"], "data": [[1], [1, 2]]}}, "row 1 of the data"),
        ({"dataframe_split": {"columns": ["rooms", "rooms"], "data": []}}, "occurs twice"),
        ({"params": 1, "inputs": {}}, "params may have"),
        ({"params": {"method": "fit"}, "inputs": {}}, "params may have"),
        ({"params": {"method": []}, "inputs": {}}, "params may have"),
        ({"params": {"temperature": 1}, "inputs": {}}, "params may have"),
    ],
)
def test_what_is_not_of_the_protocol_is_refused(body, words) -> None:
    """Each mistake is told in words of the protocol, with 400."""
    error = refusal(body)
    assert error.status == 400
    assert words in error.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": {"rooms": [1], "zone": ["a"]}, "inputs": {"rooms": [2], "zone": ["a"]}}',
        b'{"inputs": {"rooms": [1], "rooms": [2], "zone": ["a"]}}',
        b'{"inputs": {"rooms" : [1], "rooms":[2], "zone" : ["a"]}}',
        b'{"dataframe_records": [{"rooms": 1, "rooms": 2, "zone": "a:b"}]}',
        b'{"dataframe_records": [{"rooms": 1, "rooms": 2, "zone": ":"}]}',
        b'{"dataframe_records": [{"rooms": 1, "rooms": NaN, "zone": "a"}]}',
        b'{"params": {"method": "predict", "method": "predict"}, "inputs": {"rooms": [], "zone": []}}',
        b'{"dataframe_split": {"columns": ["rooms", "zone"], "data": [], "index": [{"a": 1, "a": 2}]}}',
    ],
)
def test_a_key_that_occurs_twice_is_refused(body) -> None:
    """Which of the two was meant nobody knows."""
    assert refusal(body).cause == "json"


@pytest.mark.parametrize("zone", ["a:b", '":', '" :', "\\u003a", '":":"'])
def test_colons_in_text_are_no_keys(zone) -> None:
    """Text may look like a key."""
    body = {"dataframe_records": [{"rooms": 1, "zone": zone}]}
    assert read(body).columns["zone"] == [zone]


def test_a_byte_order_mark_is_passed_over() -> None:
    """Some programs begin every text with one."""
    assert read(b"\xef\xbb\xbf" + json.dumps({"inputs": {"rooms": [3], "zone": ["a"]}}).encode()).rows == 1


def test_nan_is_a_missing_value() -> None:
    """MLflow's own client writes NaN, which no JSON is, where a number is missing."""
    body = b'{"dataframe_split": {"columns": ["rooms", "zone"], "data": [[NaN, "NaN"]]}}'
    assert read(body).columns == {"rooms": (None,), "zone": ("NaN",)}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"inputs": {"rooms": [Infinity], "zone": ["a"]}}',
        b'{"inputs": {"rooms": [NaN, -Infinity], "zone": ["a", "b"]}}',
        b'{"inputs": {"rooms": [1e400], "zone": ["a"]}}',
        b'{"inputs": {"rooms": [' + b"1" * 5000 + b'], "zone": ["a"]}}',
        b'{"inputs": {"rooms": [-1e400], "zone": ["NaN"]}}',
        b'{"inputs": {"rooms": [' + b"1" * 400 + b'], "zone": ["NaN"]}}',
        b'{"inputs": {"rooms": [NaN], "zone": ["\\ud800"]}}',
        b'{"inputs": {"rooms": [NaN], "zone": ["\xed\xa0\x80"]}}',
        b"[" * 100_000,
        b'{"inputs":' * 100_000,
        b'{"inputs": NaN, "x": ' + b"[" * 100_000,
        b"[" * 1000 + b"]" * 1000,
    ],
)
def test_what_is_no_json_is_refused_at_once(body) -> None:
    """Neither depth nor digits nor infinity take time."""
    start = time.perf_counter()
    assert refusal(body).status == 400
    assert time.perf_counter() - start < 0.1


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/vnd.apache.parquet",
        "image/png",
        "application/json; charset=latin-1",
        "text/csv; header=present",
    ],
)
def test_other_media_types_are_refused(content_type) -> None:
    """What is not taken is refused with 415."""
    assert refusal({"inputs": {}}, content_type).status == 415


def test_json_has_other_names() -> None:
    """Whatever ends in +json is JSON."""
    assert media_type("application/vnd.api+json") == "application/json"


def test_csv_is_read_as_training_reads_it() -> None:
    """Missing words are missing in columns that are no text."""
    body = '\ufeffzone,other,rooms\r\n"a,\nb",1, 3\r\nNA,,N/A\r\n\u2028x\x1c,1,1'.encode()
    assert read(body, "text/csv").columns == {"rooms": [3, None, 1], "zone": ["a,\nb", "NA", "\u2028x\x1c"]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no header"),
        (b"rooms\n1\n", "column 'zone': missing"),
        (b"rooms,zone,rooms\n1,a,2\n", "occurs twice"),
        (b"rooms,zone\n1,a\n1\n", "row 1 has not as many cells"),
        (b'rooms,zone\n1,"a\n', "no CSV"),
        (b"rooms,zone\n1,\xff\n", "no UTF-8"),
    ],
)
def test_what_is_no_csv_is_refused(body, words) -> None:
    """Each mistake is told, with 400."""
    error = refusal(body, "text/csv")
    assert error.status == 400
    assert words in error.message
