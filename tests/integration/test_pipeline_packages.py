"""A package that bears on results and changes makes its stages run again."""

import pytest

from modelbook.pipeline import packages
from modelbook.pipeline.explain import explain_run

FILE = "config/packages.yaml"


@pytest.fixture
def installed(monkeypatch):
    """Return a function that makes a package be of another version."""
    version = packages._version

    def install(name, other):
        monkeypatch.setattr(packages, "_version", lambda asked: other if asked == name else version(asked))

    return install


def prospects(plans):
    return [plan.prospect for plan in plans]


def test_a_new_version_runs_what_stands_on_it(project, installed):
    """Another scikit-learn makes features and model anew, and the reason names both versions."""
    old = packages._version("scikit-learn")
    installed("scikit-learn", "99.1")
    outcome = project.run()
    assert [stage.status for stage in outcome.stages] == ["cached", "cached", "ran", "ran", "ran"]
    assert outcome.stages[2].why == (f"scikit-learn {old} → 99.1",)
    assert f"scikit-learn {old} → 99.1" in outcome.stages[3].why
    assert {stage.status for stage in project.run().stages} == {"cached"}


def test_explained_without_a_word_in_the_file(project, installed):
    """`--explain` looks at what is installed, and leaves the file as it is, or missing."""
    old = packages._version("polars")
    installed("polars", "99.1")
    before = (project.root / FILE).read_bytes()
    plans = explain_run(project.root)
    assert plans[0].why == (f"polars {old} → 99.1",)
    assert (project.root / FILE).read_bytes() == before
    (project.root / FILE).unlink()
    assert explain_run(project.root) == plans
    assert not (project.root / FILE).exists()


def test_a_missing_file_is_made_again(project):
    """A run writes the file where it is missing, and has nothing else to do."""
    (project.root / FILE).unlink()
    assert {stage.status for stage in project.run().stages} == {"cached"}
    assert project.git("status", "--porcelain") == ""


def test_another_algorithm_brings_its_package(project):
    """LightGBM's version is a reason of its own once LightGBM is chosen."""
    plans = explain_run(project.root, settings={"model.algorithm": "lightgbm"})
    version = packages._version("lightgbm")
    assert f"lightgbm not needed → {version}" in plans[3].why


def test_versions_make_no_run_dirty(project, installed):
    """The file follows what is installed: it is on record in the environment, and not as a change of code."""
    installed("scikit-learn", "99.1")
    project.run()
    assert FILE in project.git("status", "--porcelain")
    assert not project.metadata.lineage.code.is_dirty


def test_dvc_repro_notes_what_its_stages_ran_with(project):
    """A stage that `dvc repro` starts brings the file up to date before it runs."""
    path = project.root / FILE
    text = path.read_text()
    path.write_text(text.replace('scikit-learn: "', 'scikit-learn: "0.'))
    project.dvc("repro", "train")
    assert path.read_text() == text


def test_a_project_from_before(project):
    """A project whose dvc.yaml names no such file runs as it did, and none appears."""
    lines = (project.root / "dvc.yaml").read_text().splitlines(keepends=True)
    at = [number for number, line in enumerate(lines) if "- config/packages.yaml:" in line]
    kept = [line for number, line in enumerate(lines) if not {number, number - 1} & set(at)]
    project.write("dvc.yaml", "".join(kept).replace(FILE, "a file"))
    (project.root / FILE).unlink()
    project.run()
    assert {stage.status for stage in project.run().stages} == {"cached"}
    assert {plan.prospect for plan in explain_run(project.root)} == {"cached"}
    assert not (project.root / FILE).exists()


def test_a_project_that_begins_to_look(project):
    """Stages whose params name the file for the first time say that nothing was noted before."""
    lock = (project.root / "dvc.lock").read_text()
    begin = lock.index(f"      {FILE}:")
    end = lock.index("    outs:", begin)
    project.write("dvc.lock", lock[:begin] + lock[end:])
    first = next(plan for plan in explain_run(project.root) if plan.why)
    assert f"polars not noted → {packages._version('polars')}" in first.why
