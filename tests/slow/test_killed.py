"""A run that is killed at any moment: nothing runs on, and the next run puts everything right."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

pytestmark = pytest.mark.slow

KILLS = 50
SEED = 20261122
ROWS = 500
GONE_WITHIN_S = 5
MARK = "MODELBOOK_TEST_MARK"

COMMANDS = {"run": (sys.executable, "-m", "modelbook", "run"), "dvc-repro": ("dvc", "repro")}


@pytest.fixture(scope="module")
def small_project(make_project, tmp_path_factory):
    """A project of few rows and trees that has run once."""
    random = np.random.default_rng(SEED)
    area = random.uniform(30, 200, ROWS)
    table = pl.DataFrame({"area": area, "price": 1000 * area + random.normal(0, 5000, ROWS)})
    project = make_project(tmp_path_factory.mktemp("small") / "houses", table, target="price")
    project.set({"evaluation.thresholds.rmse.max": "1000000"})
    project.commit()
    assert project.run().gate.passed
    return project


@pytest.fixture
def small(small_project, tmp_path):
    return small_project.copy(tmp_path / "houses")


def give_work(project, number: int) -> None:
    """Change the data, so that every stage has something to do."""
    with (project.root / project.config.data.raw).open("a") as file:
        file.write(f"{50 + number},{50_000 + 997 * number}\n")


def started(project, command: tuple[str, ...], mark: str) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; it and whatever it starts carry a mark."""
    return subprocess.Popen(
        command,
        cwd=project.root,
        env=os.environ | {MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def alive(mark: str) -> list[str]:
    """Return the command lines of the processes that carry a mark, whatever group or session they are in."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended meanwhile, or is not ours
            continue
    return found


def kill_after(project, command: tuple[str, ...], seconds: float) -> tuple[bool, list[str]]:
    """Kill a command at a moment; return whether it was still on, and what it left running."""
    mark = uuid.uuid4().hex
    process = started(project, command, mark)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    was_on = process.wait() == -signal.SIGKILL
    deadline = time.monotonic() + GONE_WITHIN_S
    while (left := alive(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.stdout:
        process.stdout.close()
    return was_on, left


def undisturbed_seconds(project, command: tuple[str, ...]) -> float:
    """Return how long a command takes when nobody interferes."""
    give_work(project, 0)
    began = time.monotonic()
    done = project.call(*command)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def wrong_after(project, answer) -> list[str]:
    """Return what is wrong with a project after the run that followed a killed one."""
    if answer.code != 0:
        return [f"exit {answer.code}: {answer.stderr[-600:]}"]
    outcome = orjson.loads(answer.stdout)
    wrong = []
    if outcome["recorded"] != "mlflow":
        wrong.append(f"recorded: {outcome['recorded']}")
    open_runs = [run.info.run_name for run in project.recorded if run.info.status == "RUNNING"]
    if open_runs:
        wrong.append(f"left RUNNING: {', '.join(open_runs)}")
    return wrong + unlike_registries(project)


def unlike_registries(project) -> list[str]:
    """Return in what the two registries of a project differ, and what they hold twice."""
    name = project.config.tracking.model_name
    found = project.client.search_model_versions(f"name = '{name}'")
    remote = {str(version.version): version.tags["modelbook.model_digest"] for version in found}
    local = {entry["mlflow_version"]: entry["model"]["digest"] for entry in project.registry}
    names = Counter(entry["version"] for entry in project.registry)
    wrong = [f"MLflow has {remote}, the project {local}"] if remote != local else []
    wrong += [f"twice: {key}" for key, times in names.items() if times > 1]
    wrong += [f"twice: {key}" for key, times in Counter(remote.values()).items() if times > 1]
    numbers = sorted(map(int, remote))
    return wrong + ([] if numbers == list(range(1, len(numbers) + 1)) else [f"gaps: {numbers}"])


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_kill_9_at_any_moment(small, modelbook, watching, *, say, command):
    """No process goes on, the next run succeeds, the registries agree, no version twice, no run RUNNING."""
    seconds = undisturbed_seconds(small, command)
    random, wrong, killed, rounds = np.random.default_rng(SEED), [], 0, 0
    say(f"seed {SEED}, until {KILLS} are killed, undisturbed {seconds:.1f} s")
    with watching(small.root / "models/model_registry/registry.json") as watched:
        while killed < KILLS:
            rounds += 1
            give_work(small, rounds)
            moment = random.uniform(0, seconds)
            was_on, left = kill_after(small, command, moment)
            killed += was_on
            if not was_on:
                seconds = moment  # the machine has become quicker than it was
            problems = [f"still running: {words}" for words in left]
            problems += wrong_after(small, modelbook("-C", small.root, "--json", "run"))
            wrong += [f"round {rounds}, killed after {moment:.2f} s: {problem}" for problem in problems]
            if rounds % 10 == 0:
                say("\n".join([f"{rounds} rounds, {killed} killed, {len(wrong)} problems", *wrong]))
    say(f"{killed} killed in {rounds} rounds; registry.json was read {watched.reads} times meanwhile")
    assert not watched.mistakes
    assert not wrong, "\n".join(wrong)
    assert len(small.versions) == rounds + 2
