"""The same requests to MLflow's own server and to ours: equal once parsed, wherever MLflow is right."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import pandas as pd
import polars as pl
import pytest
import requests

ROW = {"area": 81.5, "rooms": 3, "town": "Porto"}
OTHER = {"area": 120.0, "rooms": 5, "town": "Brno"}
ROWS = [ROW, OTHER]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROW}
JSON = "application/json"


@contextmanager
def running(words, url, folder):
    """Run a server until the tests are through, its output in a file."""
    with (folder / f"{words[0]}.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=folder,
            env=os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/logs/mlflow.db"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield lambda: await_answer(f"{url}/ping", server)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def await_answer(url, server, timeout_s=60):
    """Return once a server answers."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 (loopback)
            return
        time.sleep(0.1)
    pytest.fail("a server did not start")


@contextmanager
def serving_both(project):
    """Yield the addresses of MLflow's server and of ours, both of which serve the same version."""
    name = project.config.tracking.model_name
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    theirs = ["mlflow", "models", "serve", "-m", f"models:/{name}/1", "--env-manager", "local"]
    ours = ["modelbook", "serve", f"{name}/1"]
    with ExitStack() as stack:
        waits = [
            stack.enter_context(running([*words, "--port", str(port)], url, project.root))
            for words, url, port in zip((theirs, ours), urls, ports, strict=True)
        ]
        for wait in waits:
            wait()
        yield urls


@pytest.fixture(scope="module")
def servers(finished_project, tmp_path_factory):
    """Return the addresses of both servers of a model of numbers."""
    with serving_both(finished_project.copy(tmp_path_factory.mktemp("served") / "houses")) as urls:
        yield urls


@pytest.fixture(scope="module")
def classifier(make_project, tmp_path_factory):
    """Return a project whose classifier takes a column of every type, and both its servers."""
    project = make_project(tmp_path_factory.mktemp("sold") / "sold", sold(300), target="sold")
    project.run()
    with serving_both(project) as urls:
        yield project, urls


def sold(rows):
    """Return houses with a column of every type, most of which are sold where they are large or new."""
    dice = np.random.default_rng(11)
    area, is_new = dice.normal(100, 25, rows).round(1), dice.random(rows) < 0.4
    built = np.datetime64("1990-01-31T00:00:00") + dice.integers(0, 9000, rows).astype("timedelta64[D]")
    return pl.DataFrame(
        {
            "area": area,
            "rooms": dice.integers(1, 9, rows),
            "town": dice.choice(["Porto", "Brno", "Ghent"], rows),
            "new": is_new,
            "built": built.astype("datetime64[us]"),
            "sold": np.where(area + 40 * is_new + dice.normal(0, 10, rows) > 110, "yes", "no"),
        }
    )


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask_both(servers, body, content_type=JSON):
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    headers = {"content-type": content_type} if content_type else {}
    return [requests.post(f"{url}/invocations", data=content, headers=headers, timeout=30) for url in servers]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": list(ROW), "data": [list(row.values()) for row in ROWS]}},
        {"dataframe_split": {"columns": ["town", "x", "rooms", "area"], "data": [["Porto", 1, 3, 81.5]]}},
        {"dataframe_split": {"columns": list(ROW), "index": [7], "data": [list(ROW.values())]}},
        {"dataframe_records": ROWS},
        {"dataframe_records": [ROW | {"more": 1}, OTHER]},
        {"instances": ROWS},
        {"instances": COLUMNS},
        {"instances": ROW},
        {"inputs": ROWS},
        {"inputs": COLUMNS},
        {"inputs": ROW},
        {"dataframe_records": ROWS, "params": {}},
        {"dataframe_records": ROWS, "params": None},
        {"dataframe_records": [ROW | {"town": "Nowhere"}]},
        {"dataframe_records": [ROW | {"town": None}, OTHER]},
        {"dataframe_records": [ROW | {"area": None}, OTHER]},
        {"dataframe_records": [ROW | {"area": 81}]},
        {"dataframe_records": [ROW | {"area": float("nan")}]},
    ],
    ids=lambda value: str(value)[:50],
)
def test_the_forms_of_the_protocol_are_answered_alike(servers, body) -> None:
    """What MLflow takes as it is meant is answered with the same predictions."""
    theirs, ours = ask_both(servers, body)
    assert (theirs.status_code, ours.status_code) == (200, 200)
    assert ours.json() == theirs.json()
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert ours.headers["x-modelbook-version"] == "1"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("area,rooms,town\n81.5,3,Porto\n120.0,5,Brno\n", ROWS),
        ("town,area,more,rooms\r\nPorto,81.5,x,3\r\n", [ROW]),
        ('area,rooms,town\n81.5,3,"Porto"\n\n', [ROW]),
        ("area,rooms,town\n,3,Porto\n", [ROW | {"area": None}]),
    ],
    ids=["rows", "other order", "quoted", "missing"],
)
@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8"])
def test_csv_is_answered_as_mlflow_answers_json(servers, text, *, rows, content_type) -> None:
    """MLflow takes no CSV where a column of whole numbers may have gaps, but the same rows as JSON."""
    theirs = ask_both(servers, {"dataframe_records": rows})[0]
    ours = ask_both(servers, text, content_type)[1]
    assert (theirs.status_code, ours.status_code) == (200, 200)
    assert ours.json() == theirs.json()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ([ROW], JSON),
        ("3", JSON),
        ("{", JSON),
        ({}, JSON),
        ({"instances": ROWS, "inputs": ROWS}, JSON),
        ({"dataframe_split": {"data": [list(ROW.values())]}}, JSON),
        ({"dataframe_split": {"columns": list(ROW), "data": [[1]]}}, JSON),
        ({"dataframe_records": ROW}, JSON),
        ({"dataframe_records": [{"area": 1.0}]}, JSON),
        ({"instances": [list(ROW.values())]}, JSON),
        ({"inputs": {"area": [1.0], "rooms": [1, 2], "town": ["a"]}}, JSON),
        ({"dataframe_records": [ROW | {"area": "wide"}]}, JSON),
        ("", "text/csv"),
        ("area,rooms\n1,2\n", "text/csv"),
        ("area,rooms,town\nwide,3,Porto\n", "text/csv"),
        ({"instances": ROWS}, "text/plain"),
        ({"instances": ROWS}, "application/json; charset=latin-1"),
        ({"instances": ROWS}, "application/json; format=pandas-split"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_mlflow_refuses_is_refused_alike(servers, body, content_type) -> None:
    """The status is the same; what ours says has no value in it."""
    theirs, ours = ask_both(servers, body, content_type)
    assert ours.status_code == theirs.status_code
    assert not {"wide", "Porto", "Traceback"} & set(ours.text.replace('"', " ").split())


@pytest.mark.parametrize(
    ("body", "content_type", "statuses"),
    [
        ({"dataframe_records": [ROW | {"rooms": 3.0}]}, JSON, (200, 200)),
        ({"dataframe_records": [ROW | {"rooms": None}, OTHER]}, JSON, (None, 200)),
        ({"dataframe_records": [ROW | {"rooms": 1.5}]}, JSON, (None, 400)),
        ({"dataframe_records": [ROW | {"rooms": 1e30}]}, JSON, (None, 400)),
        ({"dataframe_records": [ROW | {"rooms": True}]}, JSON, (None, 400)),
        ({"dataframe_records": [ROW | {"area": "81.5"}]}, JSON, (None, 400)),
        ({"dataframe_records": [ROW | {"area": float("inf")}]}, JSON, (None, 400)),
        ('{"dataframe_records": [{"area": 1, "area": 2, "rooms": 3, "town": "a"}]}', JSON, (200, 400)),
        ({"dataframe_records": ROWS, "else": 1}, JSON, (200, 400)),
        ({"dataframe_records": [ROW, {"rooms": 5, "town": "Brno"}]}, JSON, (200, 400)),
        ({"dataframe_records": ROWS, "params": {"else": 1}}, JSON, (200, 400)),
        ({"dataframe_records": []}, JSON, (400, 200)),
        ({"dataframe_records": ROWS}, None, (500, 200)),
        ("[" * 100_000, JSON, (500, 400)),
        ('{"instances": ' + "1" * 5000 + "}", JSON, (500, 400)),
    ],
    ids=lambda value: str(value)[:60],
)
def test_where_mlflow_is_wrong_ours_is_not(servers, body, *, content_type, statuses) -> None:
    """What MLflow changes silently, or fails at, is refused, or answered as it is meant."""
    theirs, ours = ask_both(servers, body, content_type)
    assert ours.status_code == statuses[1]
    assert statuses[0] in {None, theirs.status_code}


@pytest.mark.parametrize("path", ["ping", "health", "version"])
def test_probes_answer_alike(servers, path) -> None:
    """Whoever probes MLflow's server can probe ours."""
    theirs, ours = (requests.get(f"{url}/{path}", timeout=30) for url in servers)
    assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)
    assert ours.headers["content-type"] == theirs.headers["content-type"]


@pytest.mark.parametrize("rooms", [[3, 5], [3, None]])
def test_mlflows_client_gets_the_same(servers, rooms) -> None:
    """MLflow's own client works with both, also where a whole number is missing."""
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    table = pd.DataFrame({"area": [81.5, 120.0], "rooms": rooms, "town": ["Porto", None]})
    clients = [ScoringServerClient(*url.removeprefix("http://").split(":")) for url in servers]
    for client in clients:
        client.wait_server_ready()
    theirs, ours = (client.invoke(table).get_predictions() for client in clients)
    pd.testing.assert_frame_equal(ours, theirs)
    assert clients[0].get_version() == clients[1].get_version()


@pytest.mark.slow
def test_mlflows_client_gets_the_same_of_a_classifier(classifier, plain_mlflow) -> None:
    """Classes are equal; so are the model's probabilities and ours, for MLflow's server has none."""
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    project, urls = classifier
    table = sold(40).drop("sold").to_pandas()
    clients = [ScoringServerClient(*url.removeprefix("http://").split(":")) for url in urls]
    theirs, ours = (client.invoke(table).get_predictions() for client in clients)
    pd.testing.assert_frame_equal(ours, theirs)
    assert set(ours[0]) == {"no", "yes"}
    told = clients[1].invoke(table, params={"method": "predict_proba"}).get_predictions()
    model = plain_mlflow(project).get_raw_model()
    np.testing.assert_allclose(told, model.predict_proba(table), rtol=1e-5)
