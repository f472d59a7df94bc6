"""Many processes at once on one tracking store: every run and every version is there, once."""

import os
import subprocess
import sys
import time
from collections import Counter

import orjson
import pytest

from modelbook.config import load_config
from modelbook.tracking.store import open_client

pytestmark = pytest.mark.slow

PROCESSES = 8
REGISTRATIONS = 25

RUN = (sys.executable, "-m", "modelbook", "--json", "run")
REGISTER = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sklearn.linear_model import LinearRegression
from modelbook import MLflowTracker, ModelRegistry
from modelbook.models.package import pack
from modelbook.records import EvaluationReport, InputColumn, RunMetadata

worker, registrations = map(int, sys.argv[1:])
metadata = RunMetadata.read(Path("models/metadata.json"))
report = EvaluationReport.read(Path("logs/evaluation_report.json"))
tracker, registry = MLflowTracker("."), ModelRegistry(".")
name = tracker.config.tracking.model_name
inputs = (InputColumn(name="x", type="float", nullable=False),)
words = {"algorithm": "linear", "task": "regression", "target": "y", "inputs": inputs, "code": ()}
print("ready", flush=True)
sys.stdin.readline()
for number in range(registrations):
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1000.0 * worker + number])
    with TemporaryDirectory() as folder, tracker:
        package = Path(folder)
        record = pack(model, package, **words)
        tracker.start_run(lineage=metadata.lineage)
        tracker.log_packed_model(record, package)
        version = tracker.register(name, record, tags={"modelbook.gate": "passed"}, package=package)
        run = metadata.model_copy(update={"run_id": tracker.run_id, "uid": tracker.uid, "model": record})
        registry.register_model(package / record.file, run, report, mlflow_version=version)
"""


def begin(root, *words, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        cwd=root,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Let processes go on until they end, and return what they print."""
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=1200) for process in processes]
    failed = [errors for process, (_, errors) in zip(processes, said, strict=True) if process.returncode]
    assert not failed, "\n".join(failed)
    return [printed for printed, _ in said]


def test_runs_of_many_projects_on_a_new_store(new_project, tmp_path, say):
    """Projects that start at once on a database that does not exist yet are all recorded, once each."""
    store = f"sqlite:///{tmp_path}/shared.db"
    projects = [new_project.copy(tmp_path / f"houses{number}") for number in range(PROCESSES)]
    for number, project in enumerate(projects):
        with (project.root / project.config.data.raw).open("a") as file:
            file.write(f"50,2,Brno,{50_000 + 997 * number}\n")  # data of its own, so a model of its own
    began = time.monotonic()
    running = [begin(project.root, *RUN, MLFLOW_TRACKING_URI=store) for project in projects]
    outcomes = [orjson.loads(printed) for printed in finish(running)]
    say(f"{PROCESSES} runs at once in {time.monotonic() - began:.1f} s")
    assert {outcome["recorded"] for outcome in outcomes} == {"mlflow"}
    config = load_config({"tracking": {"uri": store}})
    client = open_client(config)
    experiment = client.get_experiment_by_name(new_project.config.tracking.experiment)
    runs = {run.info.run_id: run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert runs == {outcome["run_id"]: "FINISHED" for outcome in outcomes}
    versions = {str(version.version): version for version in registered(client, new_project.config)}
    assert sorted(map(int, versions)) == list(range(1, PROCESSES + 1))
    for project, outcome in zip(projects, outcomes, strict=True):
        assert versions[outcome["model"]["version"]].run_id == outcome["run_id"]
        (entry,) = project.registry
        assert (entry["mlflow_version"], entry["run_id"]) == (outcome["model"]["version"], outcome["run_id"])


def registered(client, config):
    return client.search_model_versions(f"name = '{config.tracking.model_name}'", max_results=1000)


@pytest.fixture(params=["sqlite", "postgresql"])
def crowded(request, project, monkeypatch):
    """A finished project whose own store, or one of PostgreSQL, takes the registrations; the model is new."""
    uri = project.config.tracking_uri
    if request.param == "postgresql":
        uri = request.getfixturevalue("postgresql")
    project.set({"tracking.uri": uri, "tracking.model_name": "crowded", "tracking.experiment": "crowded"})
    monkeypatch.chdir(project.root)
    open_client(project.config)
    return project


def test_registrations_at_once(crowded, watching, say):
    """Every registration has a version of its own in both registries, MLflow's are dense, and they agree."""
    words = (sys.executable, "-c", REGISTER)
    running = [begin(crowded.root, *words, str(number), str(REGISTRATIONS)) for number in range(PROCESSES)]
    for process in running:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    began = time.monotonic()
    with watching(crowded.root / "models/model_registry/registry.json") as watched:
        finish(running)
    total = PROCESSES * REGISTRATIONS
    say(
        f"{total} registrations in {time.monotonic() - began:.1f} s; registry.json read {watched.reads} times"
    )
    assert not watched.mistakes
    remote = {
        str(version.version): (version.run_id, version.tags["modelbook.model_digest"])
        for version in registered(crowded.client, crowded.config)
    }
    entries = [entry for entry in crowded.registry if entry["name"] == "crowded"]
    local = {entry["mlflow_version"]: (entry["run_id"], entry["model"]["digest"]) for entry in entries}
    assert sorted(map(int, remote)) == list(range(1, total + 1))
    assert len({digest for _, digest in remote.values()}) == total
    assert local == remote
    names = Counter(entry["version"] for entry in entries)
    assert len(names) == total, [name for name, times in names.items() if times > 1]
    kept = [crowded.root / entry["file"] for entry in entries]
    assert len(set(kept)) == total
    assert all(path.is_file() for path in kept)
