"""A model in an environment of nothing but its own requirements: plain MLflow loads and serves it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest

FEATURES = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class Logarithmic(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def transform(self, X):
        return X.assign(area=np.log1p(X["area"]))

    def get_feature_names_out(self, input_features=None):
        return self.feature_names_in_
"""

PREDICT = """
import importlib.util, sys
import mlflow, pandas as pd

assert importlib.util.find_spec("modelbook") is None
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
rows = pd.read_parquet(sys.argv[3])
pd.DataFrame({"predicted": model.predict(rows)}).to_parquet(sys.argv[4])
"""


@pytest.fixture(scope="module")
def tailored(new_project, tmp_path_factory):
    """A project with a transformer of the user's own, a category and whole numbers with gaps."""
    project = new_project.copy(tmp_path_factory.mktemp("tailored") / "houses")
    project.write("features.py", FEATURES)
    project.set({"features.custom": "Logarithmic"})
    project.run()
    return project


def rows_of(project):
    """Return the raw columns of the test rows; some of the whole numbers are missing."""
    table = pl.read_parquet(project.root / "data/processed/test.parquet").drop("price")
    assert table["rooms"].null_count()
    return table


@pytest.fixture(scope="module")
def bare(tailored, tmp_path_factory):
    """The folder of an environment that holds the model's recorded requirements and nothing else."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    source = tailored.client.get_model_version_download_uri("houses", "1")
    requirements = Path(source.removeprefix("file://")) / "requirements.txt"
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python")]
    for further in (["--offline"], []):
        done = subprocess.run(
            [*install, *further, "-r", str(requirements)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return folder
    pytest.skip(f"neither cache nor network has the model's requirements: {done.stderr[-200:]}")


def environment(bare):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PATH": f"{bare / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(bare)}


def test_plain_mlflow_predicts_what_was_recorded(tailored, bare, tmp_path):
    """Without Modelbook, `mlflow.pyfunc.load_model` predicts for the test rows what the run recorded."""
    given, made = tmp_path / "rows.parquet", tmp_path / "predicted.parquet"
    rows_of(tailored).write_parquet(given)
    words = [tailored.config.tracking_uri, "models:/houses/1", str(given), str(made)]
    done = subprocess.run(
        [bare / "bin/python", "-W", "ignore", "-c", PREDICT, *words],
        cwd=tmp_path,
        env=environment(bare),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    predicted = pl.read_parquet(made)["predicted"]
    assert predicted.to_list() == tailored.predictions["predicted"].to_list()


@pytest.fixture(scope="module")
def served(tailored, bare, free_port):
    """The address of `mlflow models serve` out of the bare environment."""
    words = ["models", "serve", "-m", "models:/houses/1", "--env-manager", "local", "-p", str(free_port)]
    with (bare / "log").open("w") as log:
        server = subprocess.Popen(
            [bare / "bin/mlflow", *words],
            cwd=bare,
            env=environment(bare) | {"MLFLOW_TRACKING_URI": tailored.config.tracking_uri},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{free_port}"
    try:
        deadline = time.monotonic() + 90
        while not answers(f"{address}/ping"):
            assert server.poll() is None, (bare / "log").read_text()
            assert time.monotonic() < deadline, (bare / "log").read_text()
            time.sleep(0.3)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 (loopback)
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def post(address, body):
    request = urllib.request.Request(  # noqa: S310 (loopback)
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 (loopback)
        return json.load(answer)["predictions"]


def test_plain_mlflow_serves_what_was_recorded(tailored, served):
    """`mlflow models serve` answers /invocations with what the run recorded, missing values as null."""
    table = rows_of(tailored)
    body = {"dataframe_split": {"columns": table.columns, "data": [list(row) for row in table.rows()]}}
    assert post(served, body) == tailored.predictions["predicted"].to_list()


def test_the_recorded_example_is_a_request(tailored, served):
    """The serving example that lies with the model is answered as it stands."""
    source = tailored.client.get_model_version_download_uri("houses", "1")
    text = (Path(source.removeprefix("file://")) / "serving_input_example.json").read_text()
    assert np.isfinite(post(served, json.loads(text))).all()
