"""The application, asked by its ASGI interface."""

import gzip
import io
import json
import logging
import time
import zlib

import orjson
import polars as pl
import pytest
from starlette.testclient import TestClient

from modelbook.config import Config
from modelbook.errors import DataInvalidError
from modelbook.serving import app as application
from modelbook.serving.app import make_app
from modelbook.serving.current import Current, Serving
from modelbook.serving.keys import hash_of
from modelbook.serving.manifest import ServedColumn

ROWS = {"dataframe_split": {"columns": ["rooms", "zone"], "data": [[3, "a"], [None, "b"]]}}


@pytest.fixture
def ask(monkeypatch, make_runtime):
    """Return a function that starts an application and returns its client; its log is in `client.log`."""
    clients = []

    def start(runtime=None, *, has_model=True, **settings):
        log = io.StringIO()
        monkeypatch.setattr(application.sys, "stderr", log)
        current = Current(alias="production")
        if has_model:
            current.swap(Serving(runtime or make_runtime(), "houses", "7"))
        client = TestClient(make_app(current, Config(serving=settings)), base_url="http://localhost")
        client.__enter__()
        client.log, client.current = log, current
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def post(client, body=ROWS, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/invocations", content=content, headers=named)


@pytest.mark.parametrize("kind", ["compiled", "reference"])
@pytest.mark.parametrize("rows", [1, 2, 100, 5000])
def test_rows_are_answered(ask, make_runtime, kind, *, rows) -> None:
    """There is a prediction for each row, whichever way it is computed."""
    answer = post(ask(make_runtime(kind=kind)), {"instances": [{"rooms": 3, "zone": "a"}] * rows})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-modelbook-version"] == "7"
    assert answer.json() == {"predictions": [6.0] * rows}


def test_what_ended_may_begin_again(make_runtime) -> None:
    """An application that is started a second time answers many rows as it did the first time."""
    current = Current()
    current.swap(Serving(make_runtime(), "houses", "7"))
    app = make_app(current, Config(serving={"access_log": False}))
    for _ in range(2):
        with TestClient(app, base_url="http://localhost") as client:
            assert post(client, {"instances": [{"rooms": 3, "zone": "a"}] * 5000}).status_code == 200


def test_no_rows_are_answered(ask) -> None:
    """A table may be empty."""
    assert post(ask(), {"instances": []}).json() == {"predictions": []}


def test_what_json_has_no_word_for_is_null(ask) -> None:
    """NaN makes no invalid JSON."""
    assert post(ask()).content == b'{"predictions":[6.0,null]}'


@pytest.mark.parametrize("classes", [("no", "yes"), (0, 1), (False, True)])
def test_classes_and_probabilities_are_answered(ask, make_runtime, classes) -> None:
    """A classifier answers its classes, or how probable each is."""
    client = ask(make_runtime(classes=classes))
    assert post(client).json() == {"predictions": [classes[0]] * 2}
    answer = post(client, ROWS | {"params": {"method": "predict_proba"}})
    assert answer.json() == {"predictions": [[0.5, 0.5]] * 2}


def test_numbers_have_no_probabilities(ask) -> None:
    """What cannot be had is refused."""
    answer = post(ask(), ROWS | {"params": {"method": "predict_proba"}})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")


def test_mistakes_have_their_places(ask) -> None:
    """The answer to a wrong type names column and row, and has no value in it."""
    answer = post(ask(), {"instances": [{"rooms": 1, "zone": "a"}, {"rooms": "s3cret", "zone": "a"}]})
    assert answer.status_code == 400
    problem = "expected a whole number below 2**53 (integer), got text"
    assert answer.json()["mistakes"] == [{"column": "rooms", "row": 1, "problem": problem}]
    assert "s3cret" not in answer.text


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/ping", 200, "\n"),
        ("/health", 200, "\n"),
        ("/livez", 200, '{"status":"alive"}'),
        ("/version", 200, None),
        ("/docs", 200, None),
        ("/metrics", 200, None),
        ("/openapi.json", 200, None),
        ("/readyz", 200, None),
        ("/elsewhere", 404, None),
    ],
)
def test_every_answer_names_the_version(ask, path, *, status, text) -> None:
    """Whatever is asked, the answer says which version answers, and repeats the request's id."""
    answer = ask().get(path, headers={"x-request-id": "abc-1"})
    assert answer.status_code == status
    assert answer.headers["x-modelbook-version"] == "7"
    assert answer.headers["x-request-id"] == "abc-1"
    assert text is None or answer.text == text


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/elsewhere"), ("POST", "/livez"), ("PUT", "/invocations")]
)
@pytest.mark.parametrize("headers", [{}, {"x-request-id": "not one word"}, {"x-request-id": "abc-1"}])
def test_a_refusal_is_called_by_one_name(ask, method, path, *, headers) -> None:
    """The body names the request as the header does, also where the client gave it no name, or an ill one."""
    answer = ask().request(method, path, headers=headers)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_rows_are_posted(ask) -> None:
    """Another method is refused, and the right one named."""
    answer = ask().get("/invocations")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_readiness_says_what_answers(ask) -> None:
    """A page for probes and people."""
    client = ask()
    state = client.get("/readyz").json()
    assert (state["status"], state["name"], state["version"], state["alias"]) == (
        "ready",
        "houses",
        "7",
        "production",
    )
    client.current.is_stale = True
    client.current.problem = "the registry is away"
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "stale")
    assert answer.json()["problem"] == "the registry is away"
    client.current.is_stopping = True
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "stopping")


def test_without_a_model_nothing_is_ready(ask) -> None:
    """Until there is a model, requests are to come again."""
    client = ask(has_model=False)
    answer = post(client)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["x-modelbook-version"] == "none"
    assert client.get("/readyz").status_code == 503
    assert client.get("/ping").status_code == 404
    assert client.get("/livez").status_code == 200
    assert client.get("/openapi.json").status_code == 200


@pytest.mark.parametrize(("size", "status"), [(1000, 400), (1001, 413)])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_bodies_are_limited(ask, size, status, *, is_chunked) -> None:
    """One byte more than the limit is too much, whether its length is told or not."""
    client = ask(max_body_mb=0.001)
    parts = (b"x" * (size // 2), b"x" * (size - size // 2))
    answer = client.post("/invocations", content=iter(parts) if is_chunked else b"".join(parts))
    assert answer.status_code == status


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_may_be_compressed(ask, name, pack) -> None:
    """A compressed body is the body."""
    assert post(ask(), pack(json.dumps(ROWS).encode()), content_encoding=name).status_code == 200


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(bytes(100_000_000), 9), "gzip", 413),
        (gzip.compress(b"{}")[:-3], "gzip", 400),
        (gzip.compress(b"{}") + b"more", "gzip", 400),
        (b"{}", "gzip", 400),
        (b"{}", "br", 415),
        (b"{}", "gzip, gzip", 415),
    ],
    ids=["bomb", "cut", "more", "none", "other", "twice"],
)
def test_what_cannot_be_decompressed_is_refused(ask, body, encoding, *, status) -> None:
    """A bomb is refused at once, and never held."""
    client = ask()
    start = time.perf_counter()
    assert post(client, body, content_encoding=encoding).status_code == status
    assert time.perf_counter() - start < 0.5


def test_keys_are_asked_for(ask) -> None:
    """Without a key only probes are answered; the log says whose key it was."""
    client = ask(api_keys={"ann": hash_of("mb_a"), "bob": hash_of("mb_b")})
    assert post(client).status_code == 401
    assert post(client).headers["www-authenticate"] == "Bearer"
    assert post(client, authorization="Bearer mb_c").status_code == 401
    assert post(client, authorization="Basic mb_a").status_code == 401
    assert post(client, authorization="Bearer mb_a").status_code == 200
    assert post(client, x_api_key="mb_b").status_code == 200
    assert post(client, authorization="Bearer mb_a", x_api_key="of another service").status_code == 200
    assert client.get("/docs").headers["www-authenticate"].startswith("Basic")
    assert client.get("/docs", auth=("anybody", "mb_a")).status_code == 200
    assert [client.get(path).status_code for path in ("/readyz", "/ping", "/metrics", "/docs")] == [
        200,
        200,
        401,
        401,
    ]
    client.__exit__(None, None, None)
    owners = [orjson.loads(line)["key"] for line in client.log.getvalue().splitlines()]
    assert owners[4:6] == ["ann", "bob"]
    assert "mb_" not in client.log.getvalue()
    client.__enter__()


@pytest.mark.parametrize(
    ("host", "settings", "status"),
    [
        ("localhost:5001", {}, 200),
        ("127.0.0.1", {}, 200),
        ("[::1]:80", {}, 200),
        ("evil.example", {}, 421),
        ("evil.example", {"host": "127.0.0.2"}, 421),
        ("evil.example", {"host": "0:0:0:0:0:0:0:1"}, 421),
        ("127.0.0.2:5001", {"host": "127.0.0.2"}, 200),
        ("[0:0:0:0:0:0:0:1]:5001", {"host": "0:0:0:0:0:0:0:1"}, 200),
        ("[::1]:5001", {"host": "0:0:0:0:0:0:0:1"}, 200),
        ("evil.example", {"host": "0.0.0.0"}, 200),  # noqa: S104 (nothing listens)
        ("Models.example:8", {"allowed_hosts": ["models.example"]}, 200),
        ("localhost", {"allowed_hosts": ["models.example"]}, 421),
    ],
)
def test_the_host_is_checked(ask, host, settings, *, status) -> None:
    """A page elsewhere that is led to this machine by its name gets nothing but what probes get."""
    client = ask(**settings)
    assert client.get("/version", headers={"host": host}).status_code == status
    for path in ("/ping", "/health", "/livez", "/readyz"):
        assert client.get(path, headers={"host": host}).status_code == 200


@pytest.mark.parametrize("kind", ["compiled", "reference"])
@pytest.mark.parametrize(
    ("error", "status"),
    [(ZeroDivisionError("s3cret"), 500), (DataInvalidError("no such rows", got="s3cret"), 400)],
)
def test_a_model_that_fails_says_nothing_of_the_rows(
    ask, make_runtime, caplog, *, kind, error, status
) -> None:
    """Neither the answer nor the log quotes what an error says."""

    def fail():
        raise error

    with caplog.at_level(logging.INFO, logger="modelbook"):
        client = ask(make_runtime(kind=kind, act=fail))
        answer = post(client)
    assert answer.status_code == status
    assert "s3cret" not in answer.text + caplog.text


def test_a_slow_model_is_answered_for(ask, make_runtime) -> None:
    """After the timeout the answer is 504, and the next request is answered."""
    client = ask(make_runtime(kind="reference", act=lambda: time.sleep(0.5)), timeout_s=0.1)
    start = time.perf_counter()
    assert post(client).status_code == 504
    assert time.perf_counter() - start < 0.4


def test_each_request_is_logged_without_values(ask) -> None:
    """The log has one line of JSON a request."""
    client = ask()
    post(client, x_request_id="abc")
    post(client, {"instances": [{"rooms": "s3cret", "zone": "a"}]}, x_request_id="not one word")
    client.get("/s3cret")
    client.__exit__(None, None, None)
    first, second, third = map(orjson.loads, client.log.getvalue().splitlines())
    assert (first["request_id"], first["status"], first["rows"], first["version"]) == ("abc", 200, 2, "7")
    assert (second["status"], second["cause"], second["rows"]) == (400, "type", None)
    assert second["request_id"] != "not one word"
    assert (third["path"], third["status"]) == ("other", 404)
    assert "s3cret" not in client.log.getvalue()
    client.__enter__()


def test_requests_are_counted(ask, make_runtime) -> None:
    """Prometheus gets requests, latency, rows, errors by cause and the model."""
    client = ask()
    post(client)
    post(client, b"{")
    client.current.swap(Serving(make_runtime(kind="reference"), "houses", "8"))
    client.current.reject("another digest")
    page = client.get("/metrics").text
    for line in (
        'modelbook_requests_total{path="/invocations",status="200"} 1.0',
        'modelbook_requests_total{path="/invocations",status="400"} 1.0',
        "modelbook_request_seconds_count 2.0",
        "modelbook_request_rows_sum 2.0",
        'modelbook_errors_total{cause="json"} 1.0',
        'modelbook_model_workers{kind="reference",name="houses",version="8"} 1.0',
        "modelbook_model_swaps_total 1.0",
        "modelbook_model_rejected_total 1.0",
    ):
        assert line in page


def test_what_is_not_there_is_counted_by_cause(ask) -> None:
    """Unknown paths and methods are errors as those of rows are; their names are no labels."""
    client = ask()
    for method, path in (("GET", "/s3cret"), ("GET", "/else"), ("POST", "/livez"), ("GET", "/invocations")):
        client.request(method, path)
    page = client.get("/metrics").text
    assert 'modelbook_errors_total{cause="path"} 2.0' in page
    assert 'modelbook_errors_total{cause="method"} 2.0' in page
    assert "s3cret" not in page
    client.__exit__(None, None, None)
    assert orjson.loads(client.log.getvalue().splitlines()[0])["cause"] == "path"
    client.__enter__()


def test_no_log_is_written_where_none_is_wanted(ask) -> None:
    """The log can be switched off."""
    client = ask(access_log=False)
    post(client)
    assert client.log.getvalue() == ""


def test_the_description_follows_the_model(ask, make_runtime) -> None:
    """The document is of the version that answers, and its examples work."""
    client = ask()
    document = client.get("/openapi.json").json()
    assert document["info"]["version"] == "7"
    content = document["paths"]["/invocations"]["post"]["requestBody"]["content"]
    for example in content["application/json"]["examples"].values():
        assert post(client, example["value"]).status_code == 200
    assert post(client, content["text/csv"]["example"].encode(), content_type="text/csv").status_code == 200
    client.current.swap(Serving(make_runtime(), "houses", "8"))
    assert client.get("/openapi.json").json()["info"]["version"] == "8"


def test_predictions_are_kept_where_that_is_wanted(ask, tmp_path) -> None:
    """What was answered is in the folder once the server has ended; what was refused is not."""
    client = ask(prediction_log={"folder": str(tmp_path / "log")})
    post(client, x_request_id="abc")
    post(client, b"{")
    client.__exit__(None, None, None)
    (file,) = (tmp_path / "log").iterdir()
    assert pl.read_parquet(file).select("request_id", "version", "rooms", "prediction").rows() == [
        ("abc", "7", 3.0, 6.0),
        ("abc", "7", None, None),
    ]
    client.__enter__()


def test_the_page_shows_the_columns_and_fetches_nothing(ask, make_runtime) -> None:
    """The page at /docs has the model's columns, an example and all that it needs in itself."""
    runtime = make_runtime()
    told = {"type": "integer", "nullable": False, "min": 1, "max": 9, "example": 3}
    zones = {"type": "string", "nullable": True, "categories": ("a</td>", "b"), "example": "a</td>"}
    runtime.columns = (ServedColumn(name="rooms", **told), ServedColumn(name="zone", **zones))
    answer = ask(runtime).get("/docs")
    page = answer.text
    assert "<td>rooms</td><td>integer</td><td>never missing; 1 to 9</td><td>3</td>" in page
    assert "<td>a&lt;/td&gt;, b</td>" in page
    assert "houses, served by Modelbook" in page
    assert not {"http://", "https://", "src="} & set(page.replace('"', " ").split())
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "There is no model yet" in ask(has_model=False).get("/docs").text
