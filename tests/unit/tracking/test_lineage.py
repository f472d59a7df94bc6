"""What a result comes from: commit, patch, hashes, packages, command."""

import hashlib
import subprocess
import sys
from datetime import date

import pytest
from ruamel.yaml import YAML

from modelbook.config import load_config
from modelbook.tracking.lineage import (
    command_line,
    data_version,
    lineage_files,
    lineage_tags,
    read_code_state,
    read_environment,
    read_lineage,
)


def git(root, *arguments):
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit: code, settings, a name that is not ASCII, an ignored folder."""
    root = tmp_path / "repository"
    root.mkdir()
    (root / "config.yaml").write_text("seed: 1\n")
    (root / "features.py").write_text("A = 1\n")
    (root / "größe.txt").write_text("groß\n")
    (root / ".gitignore").write_text("logs/\n")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "first")
    return root


def apply(root, patch, tmp_path):
    """Return a worktree of the commit with the patch on it."""
    tree = tmp_path / "tree"
    git(root, "worktree", "add", "--quiet", str(tree), "HEAD")
    subprocess.run(["git", "apply", "--binary", "-"], cwd=tree, input=patch, check=True)
    return tree


def test_a_clean_repository(repository):
    """Without a difference there is the commit and the branch, and no patch."""
    state = read_code_state(repository)
    assert state.commit == git(repository, "rev-parse", "HEAD").strip()
    assert (state.branch, state.is_dirty, state.patch) == ("main", False, None)


def test_the_patch_makes_the_same_files_again(repository, tmp_path):
    """Changed, new, deleted, renamed and binary files come back by `git apply` on the commit."""
    (repository / "config.yaml").write_text("seed: 2\n")
    (repository / "new module.py").write_text("B = 2\n")
    (repository / "größe.txt").rename(repository / "länge.txt")
    (repository / "deep/er").mkdir(parents=True)
    (repository / "deep/er/blob.bin").write_bytes(bytes(range(256)))
    state = read_code_state(repository)
    assert state.is_dirty
    tree = apply(repository, state.patch, tmp_path)
    files = {path.relative_to(repository) for path in repository.rglob("*") if path.is_file()}
    tracked = {path for path in files if path.parts[0] != ".git"}
    again = {path.relative_to(tree) for path in tree.rglob("*") if path.is_file() and path.name != ".git"}
    assert tracked == again
    assert all((repository / path).read_bytes() == (tree / path).read_bytes() for path in tracked)


def test_an_untracked_source_file_is_part_of_the_patch(repository):
    """A source file that git does not know yet makes the state dirty and is in the patch."""
    (repository / "helper.py").write_text("HELP = 1\n")
    state = read_code_state(repository)
    assert state.is_dirty
    assert b"+HELP = 1" in state.patch


def test_ignored_and_large_files_are_not_part_of_the_patch(repository):
    """What git ignores counts for nothing; an untracked file above 1 MiB is named, not included."""
    (repository / "logs").mkdir()
    (repository / "logs/run.log").write_text("secret\n")
    (repository / "dump.csv").write_bytes(b"x" * ((1 << 20) + 1))
    (repository / "fits.csv").write_bytes(b"y" * (1 << 20))
    state = read_code_state(repository)
    assert state.patch_omitted == ("dump.csv",)
    assert b"secret" not in state.patch
    assert b"dump.csv" not in state.patch
    assert b"fits.csv" in state.patch


def test_a_link_that_leads_nowhere(repository, tmp_path):
    """A dangling link, as Emacs makes of a file in work, is in the patch as it is; it used to end the run."""
    (repository / ".#features.py").symlink_to("ann@host.4711:1795")
    state = read_code_state(repository)
    assert (state.is_dirty, state.patch_omitted) == (True, ())
    assert (apply(repository, state.patch, tmp_path) / ".#features.py").is_symlink()


def test_what_git_cannot_add_costs_nothing_else(repository, caplog):
    """A repository within it that has no commit is named, with git's words; the other changes are recorded.

    They used to be lost with it, without a word.
    """
    (repository / "features.py").write_text("A = 2\n")
    git(repository, "init", "--quiet", "nested")
    (repository / "nested/inner.py").write_text("N = 1\n")
    state = read_code_state(repository)
    assert b"+A = 2" in state.patch
    assert state.patch_omitted == ("nested/",)
    assert "not on record: nested/ (git: error: 'nested/' does not have a commit checked out)" in caplog.text


def test_a_difference_without_a_patch(repository, caplog):
    """Where git does not say what differs, the state counts as dirty, and that is said."""
    (repository / ".git/index").write_bytes(b"torn")
    state = read_code_state(repository)
    assert (state.is_dirty, state.patch, state.patch_omitted) == (True, b"", ())
    assert "git gives no patch" in caplog.text


@pytest.mark.parametrize("name", ["dvc.lock", "data/raw/table.csv.dvc"])
def test_what_dvc_writes_never_counts(repository, name):
    """dvc.lock and DVC's pointer files make nothing dirty, new or changed, and are in no patch."""
    path = repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("md5: 1\n")
    assert not read_code_state(repository).is_dirty
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "lock")
    path.write_text("md5: 2\n")
    assert not read_code_state(repository).is_dirty
    (repository / "features.py").write_text("A = 2\n")
    assert name.encode() not in read_code_state(repository).patch


def test_the_index_of_the_user_is_not_touched(repository):
    """What was staged stays staged, what was not stays so, and staged changes are part of the patch."""
    (repository / "features.py").write_text("A = 2\n")
    git(repository, "add", "features.py")
    (repository / "features.py").write_text("A = 3\n")
    (repository / "helper.py").write_text("HELP = 1\n")
    before = git(repository, "status", "--porcelain")
    index = (repository / ".git/index").read_bytes()
    state = read_code_state(repository)
    assert (repository / ".git/index").read_bytes() == index
    assert b"+A = 3" in state.patch
    assert git(repository, "status", "--porcelain") == before


def test_a_project_within_a_repository(repository, tmp_path):
    """In a folder of a larger repository, what differs elsewhere counts for nothing; the patch applies."""
    project = repository / "project"
    project.mkdir()
    (project / "features.py").write_text("P = 1\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "project")
    (repository / "config.yaml").write_text("seed: 3\n")
    assert not read_code_state(project).is_dirty
    (project / "features.py").write_text("P = 2\n")
    (project / "größer.py").write_text("G = 1\n")
    (project / "large.csv").write_bytes(b"x" * ((1 << 20) + 1))
    state = read_code_state(project)
    assert state.patch_omitted == ("large.csv",)
    tree = apply(repository, state.patch, tmp_path)
    assert (tree / "project/features.py").read_text() == "P = 2\n"
    assert (tree / "project/größer.py").read_text() == "G = 1\n"
    assert (tree / "config.yaml").read_text() == "seed: 1\n"
    assert not (tree / "project/large.csv").exists()


def test_a_repository_that_git_refuses(repository, tmp_path, *, monkeypatch, caplog):
    """A repository that git refuses for its owner is said to be; it used to count as none, without a word."""
    (tmp_path / "outside").mkdir()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch to test this
    (repository / "project").mkdir()
    for folder in (repository, repository / "project"):
        caplog.clear()
        assert read_code_state(folder).commit is None
        assert "git refuses the repository (fatal: detected dubious ownership" in caplog.text
    caplog.clear()
    assert read_code_state(tmp_path / "outside").commit is None
    assert not caplog.text


def test_settings_of_the_user_do_not_spoil_the_patch(repository, tmp_path):
    """Whatever the user told git about how differences look, the patch applies."""
    for name, value in {
        "color.ui": "always",
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "core.autocrlf": "false",
        "diff.external": "false",
    }.items():
        git(repository, "config", name, value)
    (repository / "features.py").write_text("A = 2\n")
    tree = apply(repository, read_code_state(repository).patch, tmp_path)
    assert (tree / "features.py").read_text() == "A = 2\n"


def test_a_hook_of_another_repository_changes_nothing(repository, tmp_path, monkeypatch):
    """Where git itself started the process, as in a hook, the project's own repository is read."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    before = read_code_state(repository)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert read_code_state(repository) == before


def test_no_branch_and_no_repository(repository, tmp_path):
    """On no branch the branch is None; outside git everything is; without a commit likewise."""
    git(repository, "checkout", "--quiet", "--detach")
    assert read_code_state(repository).branch is None
    outside = tmp_path / "outside"
    outside.mkdir()
    assert read_code_state(outside).commit is None
    git(outside, "init", "--quiet")
    assert read_code_state(outside).commit is None


def test_a_machine_without_git(repository, monkeypatch):
    """Without git there is no commit, and no error."""
    monkeypatch.setenv("PATH", "/nonexistent")
    state = read_code_state(repository)
    assert (state.commit, state.is_dirty) == (None, False)


def test_data_has_the_hash_that_dvc_gives_it(tmp_path):
    """A file's hash is the MD5 of its bytes."""
    (tmp_path / "table.csv").write_bytes(b"a,b\r\n1,2\r\n")
    version = data_version(tmp_path, "table.csv", rows=1)
    assert version.md5 == hashlib.md5(b"a,b\r\n1,2\r\n", usedforsecurity=False).hexdigest()
    assert (version.path, version.size_bytes, version.rows) == ("table.csv", 10, 1)


def test_the_environment_hash_is_of_python_and_packages():
    """The hash is of the Python version and every package with its version, in order."""
    environment = read_environment()
    pins = [f"{name}=={version}" for name, version in sorted(environment.packages.items())]
    content = "\n".join([environment.python, *pins])
    assert environment.sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert environment.lock.splitlines()[0] == f"# Python {environment.python}"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/somewhere/bin/modelbook", "run", "--set", "a=b c"], "modelbook run --set 'a=b c'"),
        (["/somewhere/modelbook/__main__.py", "stage", "train"], "modelbook stage train"),
    ],
)
def test_the_command_can_be_given_again(argv, said, monkeypatch):
    """The command is what a shell would take, without the machine's own path before it."""
    monkeypatch.setattr(sys, "argv", argv)
    assert command_line() == said


def test_no_password_is_recorded(tmp_path, monkeypatch):
    """A password in the address of the source, the store or on the command line is in no lineage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["modelbook", "run", "--set", "tracking.uri=http://ann:hush@host/"])
    config = load_config(
        {
            "data": {"source": "postgresql://ann:hush@host/db", "query": "select 1"},
            "tracking": {"uri": "http://ann:hush@host/"},
        }
    )
    lineage = read_lineage(config, data=(), rows={}, threads=1, command=command_line())
    assert "hush" not in lineage.model_dump_json()
    assert "hush" not in str(lineage_tags(lineage))


def test_settings_come_back_as_they_were(tmp_path, monkeypatch):
    """The recorded YAML keeps whole numbers as keys, dates, and text that looks like something else."""
    monkeypatch.chdir(tmp_path)
    values = {"class_weight": {0: 1, 1: 2.5, "b": 3}, "since": date(2024, 1, 2), "text": "2024-01-02"}
    config = load_config({"model": {"hyperparameters": {"random_forest": values}}})
    lineage = read_lineage(config, data=(), rows={}, threads=1, command="modelbook run")
    recorded = YAML(typ="safe", pure=True).load(lineage_files(lineage)["config.yaml"])
    assert load_config(recorded) == config
    assert load_config(recorded).sha256 == lineage.config_sha256


def test_the_patch_has_a_witness(repository):
    """A run's tags hold the hash of its patch, by which a changed one is told."""
    (repository / "features.py").write_text("A = 2\n")
    (repository / "config").mkdir()
    (repository / "config/config.yaml").write_text("{}\n")
    config = load_config(repository)
    lineage = read_lineage(config, data=(), rows={}, threads=1, command="modelbook run")
    patch = lineage_files(lineage)["uncommitted.patch"]
    assert lineage_tags(lineage)["modelbook.git.patch_sha256"] == hashlib.sha256(patch).hexdigest()
