"""What others can reach of a project: one answer for each thing that they need."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from dvc.repo import Repo

from modelbook.config import Config, load_config
from modelbook.errors import TrackingStoreError
from modelbook.pipeline import doctor, sharing
from modelbook.pipeline.finding import Finding
from modelbook.pipeline.sharing import examine_sharing
from modelbook.tracking import places

SETTINGS = "data: {source: data/raw/t.csv}\ntracking: {uri: 'https://mlflow.example.org'}\n"


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory):
    """Return a folder with a project and all that makes it shared: a git remote and a DVC remote."""
    home = tmp_path_factory.mktemp("team")
    root = home / "houses"
    (root / "config").mkdir(parents=True)
    (root / "config/config.yaml").write_text(SETTINGS)
    (root / "dvc.lock").write_text("schema: '2.0'\n")
    (root / "t.csv").write_text("a\n1\n")
    git(home, "init", "--quiet", "--bare", "origin")
    git(root, "init", "--quiet")
    with Repo.init(str(root)) as repo:
        repo.add("t.csv" if Path.cwd() == root else str(root / "t.csv"))
    with Repo(str(root)) as repo, repo.config.edit() as settings:
        settings["remote"]["team"] = {"url": str(home / "remote")}
        settings["core"]["remote"] = "team"
    with Repo(str(root)) as repo:
        repo.push()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "all")
    git(root, "remote", "add", "origin", str(home / "origin"))
    git(root, "push", "--quiet", "--set-upstream", "origin", "HEAD")
    return home


@pytest.fixture
def root(shared_project: Path, tmp_path: Path) -> Path:
    home = shutil.copytree(shared_project, tmp_path / "team")
    root = home / "houses"
    git(root, "remote", "set-url", "origin", str(home / "origin"))
    settings = root / ".dvc/config"
    settings.write_text(settings.read_text().replace(str(shared_project), str(home)))
    git(root, "commit", "--quiet", "--all", "--message", "moved")
    git(root, "push", "--quiet")
    return root


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "versions_kept_here", lambda _: [])


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def look(root: Path | Config, name: str) -> Finding:
    (finding,) = (finding for finding in examine_sharing(load_config(root)) if finding.name == name)
    return finding


def test_all_is_shared(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a project that others can make again each answer is yes, without advice or password."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:hush@mlflow.example.org")
    findings = list(examine_sharing(load_config(root)))
    assert [finding.name for finding in findings] == [
        "dvc.lock",
        "commit",
        "dvc remote",
        "team store",
        "models",
    ]
    assert all(finding.is_well and finding.detail and not finding.hint for finding in findings), findings
    assert "hush" not in str(findings)


def test_no_repository(tmp_path: Path):
    """Outside git nothing can be committed or pushed."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(SETTINGS)
    assert look(tmp_path, "dvc.lock").detail == "the project is in no git repository or has no commit"
    assert look(tmp_path, "commit").detail == "git knows no remote"


def test_nothing_has_run(root: Path):
    """Without dvc.lock there is nothing yet that others could make again."""
    (root / "dvc.lock").unlink()
    assert look(root, "dvc.lock").hint == "`modelbook run` makes it"


def test_what_is_not_committed(root: Path):
    """Files that differ from the commit, or are unknown to git, are named, a few of many."""
    (root / "dvc.lock").write_text("schema: '2.1'\n")
    finding = look(root, "dvc.lock")
    assert (finding.is_well, finding.detail) == (False, "not committed: dvc.lock")
    assert "git commit" in finding.hint
    for name in "abcd":
        (root / name).touch()
    assert look(root, "dvc.lock").detail == "not committed: dvc.lock, a, b and 2 more"


def test_a_commit_that_is_not_pushed(root: Path):
    """A commit that no branch of the remote has is to be pushed."""
    git(root, "commit", "--quiet", "--allow-empty", "--message", "more")
    finding = look(root, "commit")
    assert (finding.detail, finding.hint) == ("not pushed to origin", "`git push -u origin HEAD`")


def test_no_git_remote(root: Path):
    """Without a remote, the way to one is given."""
    git(root, "remote", "remove", "origin")
    assert "git remote add" in look(root, "commit").hint


def test_data_that_the_remote_lacks(root: Path):
    """What the remote of DVC does not have is named."""
    shutil.rmtree(root.parent / "remote")
    finding = look(root, "dvc remote")
    assert (finding.is_well, finding.hint) == (False, "`dvc push`")
    assert finding.detail.startswith("it lacks ")
    assert "t.csv" in finding.detail


def test_no_dvc_remote(root: Path):
    """Without a remote of DVC's, the way to one is given."""
    (root / ".dvc/config").write_text("")
    finding = look(root, "dvc remote")
    assert finding.detail == "DVC knows no remote"
    assert "dvc remote add --default" in finding.hint


def test_no_dvc(root: Path):
    """A project without DVC has no data to share."""
    shutil.rmtree(root / ".dvc")
    assert "not under DVC's care" in look(root, "dvc remote").detail


def test_a_remote_that_fails(root: Path, monkeypatch: pytest.MonkeyPatch):
    """What a remote's own library raises is passed on."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(Repo, "status", refuse)
    assert look(root, "dvc remote").detail == "it does not answer: ConnectionError: no route"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("sqlite:///logs/mlflow.db", "a file on this machine: sqlite:///logs/mlflow.db"),
        ("http://localhost:5000", "on this machine alone: http://localhost:5000"),
        ("http://127.0.0.1:5000", "on this machine alone: http://127.0.0.1:5000"),
        ("http://[::1]:5000", "on this machine alone: http://[::1]:5000"),
        ("postgresql:///runs", "on this machine alone: postgresql:///runs"),
        (
            "postgresql://ann:hush@localhost/runs",
            "on this machine alone: postgresql://ann:***@localhost/runs",
        ),
    ],
)
def test_a_store_that_others_do_not_reach(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, uri: str, words: str
):
    """A store on this machine alone is named, without its password, with the way to a server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    finding = look(root, "team store")
    assert (finding.is_well, finding.detail) == (False, words)
    assert "mlflow server" in finding.hint


@pytest.mark.parametrize(
    "uri", ["https://mlflow.example.org", "postgresql://db.example.org/runs", "http://10.0.0.7"]
)
def test_a_store_that_others_reach(root: Path, monkeypatch: pytest.MonkeyPatch, uri: str):
    """A store on another machine is taken for one that the team reaches."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert look(root, "team store").is_well


def test_without_mlflow(root: Path):
    """Runs that are on record in the project alone are nobody else's."""
    path = root / "config/config.yaml"
    path.write_text(f"{SETTINGS}training: {{enable_mlflow: false}}\n")
    assert "set training.enable_mlflow to true" in look(root, "team store").hint
    assert look(root, "models").is_well


def test_models_kept_here(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Versions whose files lie on this machine are named, the latest of many."""
    monkeypatch.setattr(sharing, "versions_kept_here", lambda _: ["5", "4", "3", "2"])
    finding = look(root, "models")
    assert not finding.is_well
    assert "5, 4, 3 and 1 more: files on this machine" in finding.detail


def test_a_store_that_does_not_answer(root: Path, monkeypatch: pytest.MonkeyPatch):
    """What the store says when asked for its versions is passed on."""

    def refuse(_: Config) -> list[str]:
        raise TrackingStoreError("the tracking server does not answer", got="refused", hint="start it")

    monkeypatch.setattr(sharing, "versions_kept_here", refuse)
    finding = look(root, "models")
    assert (finding.detail, finding.hint) == ("the tracking server does not answer: refused", "start it")


def test_the_command(root: Path, monkeypatch: pytest.MonkeyPatch, modelbook):
    """`doctor` looks at this machine; `doctor --team` at what others reach as well."""
    store = SimpleNamespace(search_experiments=lambda max_results: [][:max_results])
    monkeypatch.setattr(doctor, "open_client", lambda _: store)
    alone, team = (modelbook("-C", root, "--json", "doctor", *words) for words in ((), ("--team",)))
    names = [[finding["name"] for finding in orjson.loads(answer.stdout)] for answer in (alone, team)]
    assert names[1] == [*names[0], "dvc.lock", "commit", "dvc remote", "team store", "models"]
    assert (alone.code, team.code) == (1, 1)  # there are neither dvc.yaml nor data


@pytest.mark.parametrize(
    ("place", "is_here"),
    [("/srv/a", True), ("file:///srv/a", True), ("mlflow-artifacts:/0/a", False), ("s3://bucket/a", False)],
)
def test_where_versions_are_kept(monkeypatch: pytest.MonkeyPatch, *, place: str, is_here: bool):
    """A version is kept here where MLflow downloads it from a path of this machine."""
    client = SimpleNamespace(
        search_model_versions=lambda *_, **__: [SimpleNamespace(version=9), SimpleNamespace(version=10)],
        get_model_version_download_uri=lambda *_: place,
    )
    monkeypatch.setattr(places, "open_client", lambda _: client)
    assert places.versions_kept_here(load_config({})) == (["10", "9"] if is_here else [])
