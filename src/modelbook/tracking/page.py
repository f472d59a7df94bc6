"""MLflow's own page over the project's tracking store."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from modelbook.config import Config
from modelbook.errors import TrackingStoreError, UsageError
from modelbook.tracking.address import is_remote
from modelbook.tracking.store import open_client, store_errors

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
        UsageError: The address is taken, or not one of this machine.
    """
    client = open_client(config)
    with store_errors(config.tracking_uri):
        experiment = client.get_experiment_by_name(config.tracking.experiment)
    place = f"/#/experiments/{experiment.experiment_id}/runs" if experiment else "/#/experiments"
    if is_remote(config.tracking_uri):
        yield f"{_without_account(config.tracking_uri)}{place}"
        return
    _refuse_taken(host, port)
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    process = subprocess.Popen(  # noqa: S603 (a list, never a shell)
        _command(config, host, port),
        env=_environment(config),
        cwd=config.root,
        stdout=2,  # what it says is no result
    )
    try:
        _await(address, process)
        yield f"{address}{place}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _command(config: Config, host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server"]
    artifacts = ["--default-artifact-root", config.path("logs/mlruns").as_uri(), "--workers", "1"]
    return [*command, *artifacts, "--host", host, "--port", str(port)]


def _environment(config: Config) -> dict[str, str]:
    """Return an environment in which MLflow starts neither job runners nor usage reports.

    The store is named here, since everyone on the machine can read a process's arguments.
    """
    switches = {
        "MLFLOW_BACKEND_STORE_URI": config.tracking_uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    others = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return others | switches


def _await(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with direct.open(f"{address}/health", timeout=1):
                return
        except OSError:
            time.sleep(_POLL_S)
    raise TrackingStoreError(
        "MLflow's page does not come up",
        where=address,
        got="it is still starting" if process.poll() is None else f"exit code {process.returncode}",
        hint="see what it printed above",
    )


def _refuse_taken(host: str, port: int) -> None:
    """Refuse an address that is not free: another project's page would answer there in place of ours."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise UsageError(
            "MLflow's page cannot listen there",
            where=f"{host}, port {port}",
            got=error.strerror or str(error),
            hint="give another port with --port",
        ) from None


def _without_account(uri: str) -> str:
    """Return a server's address without user and password, which the browser asks for."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
