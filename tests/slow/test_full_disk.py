"""A disk that fills up at any stage of a run: said clearly, nothing half written, put right by the next."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from modelbook.pipeline import stages
from modelbook.records import EvaluationReport, RunMetadata

pytestmark = pytest.mark.slow

LEFT_KB = (0, 8, 64)
MOMENTS = ("start", *(f"{when} {name}" for name in stages.STAGES for when in ("before", "after")))


def fill(disk: Path, *, left_kb: int) -> None:
    """Leave that much room on a disk."""
    room = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left_kb * 1024)


def run_and_fill(project, moment: str, *, left_kb: int) -> subprocess.CompletedProcess[str]:
    """Run a project in a process of its own, whose disk is full from a moment on."""
    return project.call(sys.executable, __file__, moment, str(left_kb), timeout_s=300)


def fill_at(moment: str, disk: Path, *, left_kb: int) -> None:
    """See to it that a disk is full from a moment of this process's run on."""
    when, _, name = moment.partition(" ")
    if when == "start":
        fill(disk, left_kb=left_kb)
        return
    original = stages.STAGES[name]

    def stage(config, log):
        if when == "before":
            fill(disk, left_kb=left_kb)
        original(config, log)
        if when == "after":
            fill(disk, left_kb=left_kb)

    stages.STAGES = {**stages.STAGES, name: stage}


def half_written(project) -> list[str]:
    """Return the files of a project that are not what they say, and those that were left on the way."""
    root = project.root
    wrong = [str(path.relative_to(root)) for path in root.rglob("*.part")]
    readers = {
        "models/metadata.json": RunMetadata.read,
        "logs/evaluation_report.json": EvaluationReport.read,
        "models/model_registry/registry.json": lambda path: orjson.loads(path.read_bytes()),
        "models/metrics.json": lambda path: orjson.loads(path.read_bytes()),
    }
    for name, read in readers.items():
        try:
            if (root / name).exists():
                read(root / name)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    return wrong


@pytest.mark.parametrize("left_kb", LEFT_KB)
@pytest.mark.parametrize("moment", MOMENTS)
def test_full_disk(finished_project, small_disk, *, moment, left_kb):
    """The run says what is full, the store's database included; with space freed the next one succeeds."""
    project = finished_project.copy(small_disk / "houses")
    with (project.root / project.config.data.raw).open("a") as file:
        file.write("50,2,Brno,51000\n")
    answer = run_and_fill(project, moment, left_kb=left_kb)
    assert answer.returncode in {0, 1, 7}, answer.stderr
    if answer.returncode:
        assert "No space left on device" in answer.stderr or "disk is full" in answer.stderr, answer.stderr
        assert "unexpected error" not in answer.stderr
        assert "Traceback" not in answer.stderr
    assert half_written(project) == []
    (small_disk / "ballast").unlink()
    answer = project.modelbook("--json", "run")
    assert answer.returncode == 0, answer.stderr
    assert orjson.loads(answer.stdout)["model"]["version"] == "2"
    assert project.versions == [1, 2]
    assert [entry["mlflow_version"] for entry in project.registry] == ["1", "2"]
    assert not [run for run in project.recorded if run.info.status == "RUNNING"]


if __name__ == "__main__":
    from modelbook.cli.main import main

    fill_at(sys.argv[1], Path.cwd().parent, left_kb=int(sys.argv[2]))
    main(["run"])
