"""MLflow's own page over the project's tracking store."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from modelbook.config import Config
from modelbook.errors import TrackingStoreError
from modelbook.tracking.store import is_remote, open_client

_READY_WITHIN_S = 90.0
_POLL_S = 0.2
_STOP_WITHIN_S = 10.0


@contextmanager
def mlflow_page(config: Config, *, host: str, port: int) -> Iterator[str]:
    """Serve MLflow's page while the context lasts, and give the address of the project's runs on it.

    A tracking server has a page of its own; its address is given and nothing is started.

    Args:
        config: The project.
        host: The address to listen at.
        port: The port to listen at.

    Raises:
        TrackingStoreError: The store cannot be used, or the page does not come up.
    """
    experiment = open_client(config).get_experiment_by_name(config.tracking.experiment)
    place = f"/#/experiments/{experiment.experiment_id}/runs" if experiment else "/#/experiments"
    if is_remote(config.tracking_uri):
        yield f"{config.tracking_uri}{place}"
        return
    address = f"http://{host}:{port}"
    process = subprocess.Popen(_command(config, host, port), env=_environment(), cwd=config.root)  # noqa: S603
    try:
        _await(address, process)
        yield f"{address}{place}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _command(config: Config, host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", config.tracking_uri]
    artifacts = ["--default-artifact-root", config.path("logs/mlruns").as_uri(), "--workers", "1"]
    return [*command, *artifacts, "--host", host, "--port", str(port)]


def _environment() -> dict[str, str]:
    """Return an environment in which MLflow starts neither job runners nor usage reports."""
    switches = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    others = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return others | switches


def _await(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):  # noqa: S310 (our own address)
                return
        except OSError:
            time.sleep(_POLL_S)
    raise TrackingStoreError(
        "MLflow's page does not come up",
        where=address,
        got="it is still starting" if process.poll() is None else f"exit code {process.returncode}",
        hint="see what it printed above; if the port is taken, give another one with --port",
    )
