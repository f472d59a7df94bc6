"""Versions moved while processes are killed, or many at once: the registries agree, the ledger is whole."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest

from modelbook.config import load_config
from modelbook.registry.books import open_books
from modelbook.registry.ledger import find_faults
from modelbook.registry.promotion import intent_path
from modelbook.registry.registry import ModelRegistry

pytestmark = pytest.mark.slow

ROUNDS = 50
SEED = 20261122
PROCESSES = 8
MODELBOOK = (sys.executable, "-m", "modelbook")
FORCED = ("--force", "--reason", "for the test")


@pytest.fixture(scope="module")
def three_versions(small, tmp_path_factory):
    """A project with three versions, of which any may go to production by force."""
    return with_versions(small, tmp_path_factory.mktemp("versions") / "houses", count=3)


@pytest.fixture(scope="module")
def eight_versions(small, tmp_path_factory):
    """A project with as many versions as there are processes."""
    return with_versions(small, tmp_path_factory.mktemp("versions") / "houses", count=PROCESSES)


def with_versions(small, root, *, count):
    project = small.copy(root)
    for seed in range(1, count + 1):
        project.set({"training.seed": str(seed)})
        project.commit()
        assert project.run().gate.passed
    return project


def begin(project, *words):
    return subprocess.Popen(
        [*MODELBOOK, *words],
        cwd=project.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


def kill_after(project, words, *, seconds, is_begun):
    """Kill a command some time after it began, or after it wrote its intent; return whether it was on."""
    intent = intent_path(project.config, project.config.tracking.model_name)
    process = begin(project, *words)
    while is_begun and process.poll() is None and not intent.exists():
        time.sleep(0.001)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def seconds_of(project, words):
    """Return how long a command takes, and how long from its intent to its end; both undisturbed."""
    intent = intent_path(project.config, project.config.tracking.model_name)
    began, stood = time.monotonic(), None
    process = begin(project, *words)
    while process.poll() is None:
        stood = stood or (time.monotonic() if intent.exists() else None)
        time.sleep(0.001)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    ended = time.monotonic()
    return ended - began, ended - (stood or ended)


def disagreements(project):
    """Return in what the ledger, MLflow and the project are at odds."""
    config = load_config(project.root)
    name = config.tracking.model_name
    found = open_books(config, name).read()
    wrong = [*found.faults, *found.mirror_faults, *find_faults(found.lines, head=found.head)]
    after = found.entries[-1].after
    client = project.client
    aliases = {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()}
    expected = {alias: number for alias, number in after.model_dump().items() if number}
    wrong += [f"aliases {aliases}, ledger {expected}"] if aliases != expected else []
    local = {entry.mlflow_version: entry.stage for entry in ModelRegistry(config).versions(name)}
    tags = {
        number: client.get_model_version(name, number).tags.get("modelbook.stage", "None") for number in local
    }
    wrong += [f"registry.json {local}, MLflow {tags}"] if local != tags else []
    staged = {stage.lower(): number for number, stage in local.items() if stage in {"Production", "Staging"}}
    wrong += [f"registry.json {staged}, ledger {expected}"] if staged != expected else []
    wrong += ["the copy is not the ledger"] if tuple(found.mirror) != found.lines else []
    return wrong + (["an intent is left"] if intent_path(config, name).exists() else [])


def test_kill_9_at_any_moment(three_versions, tmp_path, modelbook, *, watching, say):
    """After a promotion or a rollback that was killed, the next command leaves both registries agreeing."""
    project = three_versions.copy(tmp_path / "houses")
    name = project.config.tracking.model_name
    for number in ("1", "2"):
        modelbook("-C", project.root, "promote", name, number, "--to", "production", *FORCED)
    numbers = np.random.default_rng(SEED)
    promotes = [("promote", name, number, "--to", "production", *FORCED) for number in "3123"]
    whole, writing = seconds_of(project, promotes[0])
    say(f"seed {SEED}, {ROUNDS} kills; undisturbed {whole:.2f} s, of which writing {writing:.2f} s")
    wrong, killed, half, number = [], 0, 0, 0
    with watching(project.root / "models/model_registry/registry.json") as watched:
        while killed < ROUNDS and number < 4 * ROUNDS:
            number += 1
            words = promotes[number % 4] if number % 3 else ("rollback", name)
            is_begun = bool(number % 2)  # half of the moments are drawn from those in which it writes
            moment = numbers.uniform(0, writing if is_begun else whole)
            killed += kill_after(project, words, seconds=moment, is_begun=is_begun)
            half += intent_path(project.config, name).exists()
            answer = modelbook("-C", project.root, "--json", "models")
            problems = [] if answer.code == 0 else [answer.stderr]
            problems += disagreements(project)
            wrong += [f"round {number}, after {moment:.2f} s: {problem}" for problem in problems]
    failed = len({line.partition(",")[0] for line in wrong})
    say(f"{killed} killed in {number} rounds, {half} of them in the middle of a move; {failed} disagree")
    say(f"registry.json was read {watched.reads} times meanwhile")
    assert not watched.mistakes
    assert not wrong, "\n".join(wrong)
    assert killed == ROUNDS
    assert half


@pytest.mark.parametrize("store", ["sqlite", "postgresql", "mlflow_server"])
def test_many_at_once(request, eight_versions, tmp_path, *, store, say):
    """Processes that promote different versions at once: one order, and ledger and aliases agree."""
    project = eight_versions.copy(tmp_path / "houses")
    if store != "sqlite":
        project.set({"tracking.uri": request.getfixturevalue(store)})
        project.set({"tracking.model_name": f"many-{store}", "tracking.experiment": f"many-{store}"})
        for seed in range(1, PROCESSES + 1):
            project.set({"training.seed": str(seed)})
            project.run()
    name = project.config.tracking.model_name
    versions = project.versions
    assert len(versions) == PROCESSES
    began = time.monotonic()
    stages = ["production" if number % 2 else "staging" for number in versions]
    running = [
        begin(project, "promote", name, str(number), "--to", stage, *FORCED)
        for number, stage in zip(versions, stages, strict=True)
    ]
    said = [process.communicate()[0] for process in running]
    say(f"{store}: {PROCESSES} promotions at once in {time.monotonic() - began:.1f} s")
    assert [process.returncode for process in running] == [0] * PROCESSES, "\n".join(said)
    assert disagreements(project) == []
    entries = open_books(project.config, name).read().entries
    assert sorted(int(entry.version) for entry in entries) == versions
    for before, entry in pairwise(entries):
        assert entry.before == before.after
        assert entry.moment >= before.moment
