"""A tracking server that dies at any moment of a run, and a delivery that is killed at any moment."""

import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import psutil
import pytest

from modelbook.pipeline.syncing import sync

pytestmark = pytest.mark.slow

ROUNDS = 20
KILLED_SERVERS = 3
SEED = 20261122
OF_EACH_RUN = {
    "uid",
    "project",
    "process",
    "config_sha256",
    "git.patch_sha256",
    "model_sha256",
    "record_sha256",
}
OF_EACH_FILE = {"config.yaml", "metadata.json", "evaluation_report.json", "report.html", "uncommitted.patch"}


def essence(picture):
    """Return what a run in the store comes to, without what differs from run to run by nature."""
    (run,) = picture["runs"]
    history = {key: [(step, value) for _, step, value in points] for key, points in run["history"].items()}
    tags = {
        key: value for key, value in run["tags"].items() if key.removeprefix("modelbook.") not in OF_EACH_RUN
    }
    del tags["mlflow.runName"]
    files = {name: None if name in OF_EACH_FILE else digest for name, digest in run["files"].items()}
    same = {key: run[key] for key in ("status", "params", "inputs", "outputs")}
    versions = [
        (number, tags["modelbook.model_digest"], is_own) for number, tags, is_own in picture["versions"]
    ]
    models = [(status, is_own) for status, is_own, _ in picture["models"]]
    return same | {"history": history, "tags": tags, "files": files, "versions": versions, "models": models}


def delivered_twice(project, picture):
    """Return the essence of what `sync` makes of a project, after seeing that doing it again adds nothing."""
    for _ in range(2):
        report, error = sync(project.config)
        assert (error, report.waiting) == (None, ())
    once = picture(project.config)
    sync(project.config)
    assert picture(project.config) == once
    (entry,) = project.registry
    assert (entry["mlflow_version"], entry["run_id"]) == ("1", project.recorded[0].info.run_id)
    return essence(once)


def test_a_server_that_dies_at_any_moment(copy_for, proxy, *, picture, say):
    """Whenever the server dies, the run ends well and, once delivered, equals an undisturbed one."""
    chance = np.random.default_rng(SEED)
    say(f"seed {SEED}")
    undisturbed = copy_for("undisturbed", proxy.address)
    assert undisturbed.run(use_dvc=False).recorded == "mlflow"
    pieces, expected = proxy.passed, essence(picture(undisturbed.config))
    equal, recorded = 0, []
    for number in range(ROUNDS):
        project = copy_for(f"round-{number}", proxy.address)
        proxy.cut_after(chance.integers(pieces))
        recorded.append(project.run(use_dvc=False).recorded)
        proxy.cut()
        proxy.mend()
        equal += delivered_twice(project, picture) == expected
    say(f"{equal} of {ROUNDS} equal; {recorded.count('outbox')} of them went through the outbox")
    assert equal == ROUNDS


def test_a_server_process_that_is_killed(copy_for, run_mlflow, *, tmp_path, picture, free_port, say):
    """The same with MLflow's own process killed in the middle, and started again."""
    chance = np.random.default_rng(SEED)
    say(f"seed {SEED}")
    with run_mlflow(tmp_path, free_port) as address:
        undisturbed = copy_for("undisturbed", address)
        began = time.monotonic()
        undisturbed.run(use_dvc=False)
        seconds = time.monotonic() - began
        expected = essence(picture(undisturbed.config))
    for number in range(KILLED_SERVERS):
        project = copy_for(f"killed-{number}", address)
        with run_mlflow(tmp_path, free_port):
            server = [
                child for child in psutil.Process().children(recursive=True) if _serves(child, free_port)
            ]

            def kill(processes=server):
                for process in processes:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()

            timer = threading.Timer(chance.uniform(0, seconds), kill)
            timer.start()
            project.run(use_dvc=False)
            timer.join()
        with run_mlflow(tmp_path, free_port):
            assert delivered_twice(project, picture) == expected


def _serves(process, port):
    with suppress(psutil.NoSuchProcess):
        return str(port) in process.cmdline() or "multiprocessing" in " ".join(process.cmdline())
    return False


def _delivering(project):
    """Start `sync`, and return its process as soon as it writes to the store."""
    store = project.root / "logs/mlflow.db"
    before = store.stat().st_mtime_ns
    command = [sys.executable, "-m", "modelbook", "sync"]
    process = subprocess.Popen(command, cwd=project.root, stdout=subprocess.DEVNULL)
    while store.stat().st_mtime_ns == before and process.poll() is None:
        time.sleep(0.01)
    return process


def test_a_delivery_that_is_killed_at_any_moment(small, empty_store, *, picture, tmp_path, say):
    """Whenever `sync` is killed, doing it again makes everything as if it had not been."""
    chance = np.random.default_rng(SEED)
    say(f"seed {SEED}")
    project = small.copy(tmp_path / "offline" / "houses")
    project.set({"tracking.uri": "http://127.0.0.1:9"})
    assert project.run(use_dvc=False).recorded == "outbox"
    project.set({"tracking.uri": "null"})
    shutil.copy(empty_store, project.root / "logs/mlflow.db")
    undisturbed = project.copy(tmp_path / "undisturbed" / "houses")
    process = _delivering(undisturbed)
    began = time.monotonic()
    assert process.wait() == 0
    seconds = time.monotonic() - began
    expected = picture(undisturbed.config)
    equal, interrupted = 0, 0
    for number in range(ROUNDS):
        other = project.copy(tmp_path / f"round-{number}" / "houses")
        process = _delivering(other)
        time.sleep(chance.uniform(0, seconds))
        process.kill()
        interrupted += process.wait() != 0
        for _ in range(2):
            assert sync(other.config).error is None
        equal += picture(other.config) == expected and other.registry[0]["mlflow_version"] == "1"
        shutil.rmtree(other.root)
    say(f"{equal} of {ROUNDS} equal; {interrupted} of them were killed in time")
    assert equal == ROUNDS


def test_what_an_absent_server_costs(copy_for, mlflow_server, *, free_port, say):
    """A run takes at most 10 s longer without a server than with one."""
    seconds = {}
    for name, address in (("with", mlflow_server), ("without", f"http://127.0.0.1:{free_port}")):
        project = copy_for(name, address)
        began = time.monotonic()
        assert project.modelbook("run").returncode == 0
        seconds[name] = time.monotonic() - began
    say(f"with a server {seconds['with']:.1f} s, without {seconds['without']:.1f} s")
    assert seconds["without"] < seconds["with"] + 10
