"""The workflow that `init --ci github` lays down: each of its steps is run here, as GitHub would."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from modelbook import __version__
from modelbook.config import load_config, set_values
from modelbook.registry.books import open_books
from modelbook.scaffold.project import create_project
from modelbook.scaffold.source import Source
from modelbook.tracking.store import open_client

WORKFLOW = ".github/workflows/modelbook.yml"
EXPRESSION = re.compile(r"\$\{\{ ([\w.]+) \}\}")
COMMENT = """
const [base, head] = ['ada/houses', process.env.HEAD].map((full_name) => ({ repo: { full_name } }));
const payload = { pull_request: { base, head } };
const context = { repo: { owner: 'ada', repo: 'houses' }, issue: { number: 7 }, payload };
const say = async (given) => console.log(JSON.stringify(given));
const core = { summary: { addRaw: (text) => ({ write: () => say({ text }) }) } };
const github = { rest: { issues: { createComment: say } } };
(async () => { %s })();
"""


@pytest.fixture(scope="module")
def upstream(new_project, empty_store, tmp_path_factory):
    """A repository with the workflow, a DVC remote for its table and a tracking store of its own."""
    place = tmp_path_factory.mktemp("github")
    table = place / "houses.csv"
    shutil.copy(new_project.root / new_project.config.data.raw, table)
    create_project(place / "houses", Source(str(table), "price"), ci="github")
    project = type(new_project)(place / "houses")
    small = {"model.hyperparameters.random_forest.n_estimators": "5", "training.n_jobs": "2"}
    project.set(small | {"evaluation.thresholds.rmse.max": "1000000"})
    project.dvc("remote", "add", "--default", "shelf", str(place / "shelf"))
    project.commit()
    project.dvc("push")
    shutil.copy(empty_store, place / "server.db")
    settings = load_config(project.root, environ={"MLFLOW_TRACKING_URI": f"sqlite:///{place}/server.db"})
    experiment = settings.tracking.experiment
    open_client(settings).create_experiment(experiment, artifact_location=(place / "artifacts").as_uri())
    return project


class Runner:
    """Does what GitHub's runner does with a job, as far as the workflow goes."""

    def __init__(self, upstream, folder: Path) -> None:
        self.upstream = upstream
        self.folder = folder
        self.store = f"sqlite:///{upstream.root.parent}/server.db"
        self.said = ""
        self.comments: list[dict[str, str]] = []
        self.summaries: list[str] = []
        self.head = "ada/houses"

    def run(self, event: str) -> list[str]:
        """Run the job on a fresh checkout, and return the names of its steps up to the one that failed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.upstream.git("clone", "--quiet", str(self.upstream.root), str(self.folder))
        workflow = YAML(typ="safe", pure=True).load((self.folder / WORKFLOW).read_text())
        job = workflow["jobs"]["model"]
        known = {
            "github.sha": self.upstream.git("rev-parse", "HEAD"),
            "github.event_name": event,
            "secrets.MLFLOW_TRACKING_URI": self.store,
        }
        values = {key: self._filled(value, known) for key, value in workflow["env"].items()}
        done = []
        for step in job["steps"]:
            condition = step.get("if")
            if condition is None or condition == f"github.event_name == '{event}'":
                done.append(step.get("name", step.get("uses")))
                if not self._step(step, known, values):
                    return [*done, "FAILED"]
        return done

    def _filled(self, text: str, known: dict[str, str]) -> str:
        return EXPRESSION.sub(lambda found: known.get(found[1], ""), text)

    def _step(self, step, known, values) -> bool:
        if "run" in step:
            words = ["bash", "-e", "-o", "pipefail", "-c", self._filled(step["run"], known)]
            done = self._call(words, values)
            self.said = done.stdout + done.stderr
            return done.returncode == 0
        if step["uses"].startswith("actions/github-script@"):
            if shutil.which("node") is None:
                pytest.skip("node is not installed")
            values = values | {"HEAD": self.head}
            done = self._call(["node", "-e", COMMENT % step["with"]["script"]], values)
            assert done.returncode == 0, done.stderr
            summary, *comments = map(json.loads, done.stdout.splitlines())
            self.summaries.append(summary["text"])
            self.comments += comments
        else:
            assert step["uses"] in {"actions/checkout@v6", "actions/setup-python@v6"}
        return True

    def _call(self, words, values):
        return subprocess.run(
            words, cwd=self.folder, env=os.environ | values, capture_output=True, text=True, check=False
        )


@pytest.fixture
def runner(upstream, tmp_path, monkeypatch):
    runner = Runner(upstream, tmp_path / "checkout")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # what is installed has to do
    return runner


def production(runner):
    config = load_config(runner.upstream.root, environ={"MLFLOW_TRACKING_URI": runner.store})
    return open_books(config, config.tracking.model_name).read().aliases.production


@pytest.mark.slow  # five jobs of six commands each
def test_from_pull_request_to_production(runner, upstream):
    """A pull request is run and commented, a merge promotes, and one that changes nothing changes nothing."""
    steps = runner.run("pull_request")
    assert steps[-1] == "Comment the comparison on the pull request"
    (comment,) = runner.comments
    assert (comment["owner"], comment["issue_number"]) == ("ada", 7)
    assert "There is nothing to hold it against yet." in comment["body"]
    assert runner.summaries == [comment["body"]]
    assert production(runner) is None

    assert runner.run("push")[-1] == "Promote the model if it is better than production", runner.said
    assert production(runner) == "1"
    assert runner.run("push")[-1] == "Promote the model if it is better than production", runner.said
    assert production(runner) == "1"

    set_values(upstream.root / "config/config.yaml", {"model.algorithm": "linear"})
    upstream.commit()
    runner.run("pull_request")
    body = runner.comments[-1]["body"]
    assert "| run | metric | value | difference | 95 % interval | |" in body
    assert "`model.algorithm`" in body or "`algorithm`: random_forest → linear" in body
    assert production(runner) == "1"
    runner.run("push")
    assert production(runner) == "2"

    set_values(upstream.root / "config/config.yaml", {"evaluation.thresholds.rmse.max": "1"})
    upstream.commit()
    assert runner.run("push")[-2:] == ["Run the pipeline; a model that the gate rejects ends here", "FAILED"]
    assert production(runner) == "2"


@pytest.mark.slow  # a job of five commands
def test_a_fork_may_not_comment(runner, upstream):
    """The table of a fork's pull request stands in the job's summary, and nobody is refused."""
    set_values(upstream.root / "config/config.yaml", {"evaluation.thresholds.rmse.max": "2000000"})
    upstream.commit()
    runner.head = "grace/houses"
    assert runner.run("pull_request")[-1] == "Comment the comparison on the pull request"
    assert (len(runner.summaries), runner.comments) == (1, [])


def test_what_it_calls(upstream):
    """Beside installing it, every step that runs a command runs `modelbook`, at the version that wrote it."""
    workflow = YAML(typ="safe", pure=True).load((upstream.root / WORKFLOW).read_text())
    install, *commands = [step["run"] for step in workflow["jobs"]["model"]["steps"] if "run" in step]
    assert install == f'python -m pip install "modelbook=={__version__}"'
    assert all(command.startswith("modelbook ") for command in commands)
    python = workflow["jobs"]["model"]["steps"][1]["with"]["python-version"]
    assert python == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}


@pytest.mark.parametrize("name", ["o'brien's houses", "$(touch pwned)", 'say "hi"', "{{ name }}"])
def test_a_name_with_signs_of_the_shell(upstream, tmp_path, name):
    """A project's name, which its model takes, is quoted for the shell and for YAML."""
    table = upstream.root.parent / "houses.csv"
    create_project(tmp_path / name, Source(str(table), "price"), ci="github")
    workflow = YAML(typ="safe", pure=True).load((tmp_path / name / WORKFLOW).read_text())
    promote = workflow["jobs"]["model"]["steps"][-1]["run"]
    model = load_config(tmp_path / name).tracking.model_name
    echo = promote.replace("modelbook promote", "printf '%s\\n'", 1).replace("${{ github.sha }}", "1")
    said = subprocess.run(["bash", "-c", echo], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[0] == model
    assert not (tmp_path / "pwned").exists()


def test_without_ci(new_project):
    """Nobody who did not ask for a workflow gets one."""
    assert not (new_project.root / ".github").exists()


def test_an_unknown_service(modelbook, tmp_path):
    """Another service than GitHub is refused (exit 2), and nothing is made."""
    done = modelbook("-C", tmp_path, "init", "houses", "--example", "housing", "--ci", "gitlab")
    assert done.code == 2
    assert not (tmp_path / "houses").exists()
