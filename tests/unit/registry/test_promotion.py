"""Versions moved between stages: the ledger, MLflow's aliases and the local registry, all or nothing."""

import logging
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from filelock import FileLock

from modelbook.config import load_config
from modelbook.errors import NotFoundError, ProjectBusyError, StoreAwayError, TrackingStoreError, UsageError
from modelbook.registry import promotion
from modelbook.registry.books import LocalBooks, MLflowBooks, mirror_path, open_books
from modelbook.registry.ledger import Mover, find_faults, read_mirror, write_mirror
from modelbook.registry.promotion import (
    Lifecycle,
    Move,
    intent_path,
    mend_interrupted,
    open_lifecycle,
)
from modelbook.registry.registry import FOLDER, ModelRegistry
from modelbook.tracking import lifecycle as in_mlflow
from modelbook.tracking.store import open_client
from modelbook.tracking.versions import DIGEST_TAG

NAME = "houses"
ADA = Mover(user="ada", host="here")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def of_mlflow(light_project, empty_store, tmp_path_factory):
    return light_project(tmp_path_factory.mktemp("mlflow") / NAME, store=empty_store)


@pytest.fixture(scope="module")
def of_none(light_project, tmp_path_factory):
    return light_project(tmp_path_factory.mktemp("local") / NAME)


@pytest.fixture(params=["of_mlflow", "of_none"])
def config(request, tmp_path):
    """A project of the test's own with three versions, with MLflow or without."""
    return load_config(shutil.copytree(request.getfixturevalue(request.param), tmp_path / NAME))


@pytest.fixture
def with_mlflow(of_mlflow, tmp_path):
    """A project of the test's own with three versions, with MLflow."""
    return load_config(shutil.copytree(of_mlflow, tmp_path / NAME))


def version(config, number):
    """Return what the books call a version."""
    if config.training.enable_mlflow:
        return str(number)
    return ModelRegistry(config).versions(NAME)[number - 1].version


def a_move(config, number, *, stage="Production", action="promote"):
    digest = f"digest{number}" if config.training.enable_mlflow else None
    return Move(who=ADA, action=action, version=version(config, number), digest=digest, stage=stage)


def promote(config, number, **options):
    with open_lifecycle(config, NAME) as lifecycle:
        return lifecycle.move(a_move(config, number, **options))


def standing(config):
    return open_books(config, NAME).read()


def local_stages(config):
    return [entry.stage for entry in ModelRegistry(config).versions(NAME)]


def disagreements(config):
    """Return in what the ledger, MLflow and the project are at odds, intents left included."""
    found, wrong = standing(config), []
    wrong += [*found.faults, *found.mirror_faults]
    if intent_path(config, NAME).exists():
        wrong.append("an intent is left")
    aliases = found.entries[-1].after if found.entries else type(found.aliases)()
    if found.aliases != aliases:
        wrong.append(f"aliases {found.aliases}, ledger {aliases}")
    if found.head_number != found.last_number:
        wrong.append(f"head {found.head_number}, ledger {found.last_number}")
    if config.training.enable_mlflow and tuple(found.mirror) != found.lines:
        wrong.append("the copy is not the ledger")
    staged = {
        stage: entry.mlflow_version if config.training.enable_mlflow else entry.version
        for entry, stage in zip(ModelRegistry(config).versions(NAME), local_stages(config), strict=True)
    }
    if (staged.get("Production"), staged.get("Staging")) != (aliases.production, aliases.staging):
        wrong.append(f"registry.json {staged}, ledger {aliases}")
    return wrong


def test_the_way_to_production(config):
    """None, Staging, Production, Archived: in the ledger, in registry.json and in MLflow."""
    promote(config, 1, stage="Staging")
    assert local_stages(config) == ["Staging", "None", "None"]
    promote(config, 1)
    assert local_stages(config) == ["Production", "None", "None"]
    entry = promote(config, 2)
    assert local_stages(config) == ["Archived", "Production", "None"]
    assert (entry.number, entry.stage_before, entry.who) == (3, "None", ADA)
    assert entry.before.production == version(config, 1)
    assert disagreements(config) == []


def test_what_mlflow_holds(with_mlflow):
    """Aliases name the versions, each version carries its stage, and the ledger is a finished run."""
    promote(with_mlflow, 1)
    promote(with_mlflow, 2, stage="Staging")
    promote(with_mlflow, 2)
    client = open_client(with_mlflow)
    model = client.get_registered_model(NAME)
    assert {alias: str(number) for alias, number in model.aliases.items()} == {"production": "2"}
    tags = [client.get_model_version(NAME, number).tags.get(in_mlflow.STAGE_TAG) for number in "123"]
    assert tags == ["Archived", "Production", None]
    experiment = client.get_experiment_by_name(in_mlflow.EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("ledger of houses", "FINISHED")
    assert sorted(run.data.params) == ["entry.000001", "entry.000002", "entry.000003"]


def test_the_store_lets_nobody_write_an_entry_again(with_mlflow):
    """MLflow refuses another value for an entry that is there, whoever asks."""
    promote(with_mlflow, 1)
    client = open_client(with_mlflow)
    experiment = client.get_experiment_by_name(in_mlflow.EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id])
    with pytest.raises(Exception, match="Changing param values is not allowed"):
        client.log_param(run.info.run_id, "entry.000001", "something else")


def test_an_entry_too_long_for_one_parameter(config):
    """An entry of any length is kept: its parts first, by their content, the entry itself last."""
    move = a_move(config, 1).model_copy(update={"forced": tuple(f"reason {n}: ü" * 9 for n in range(200))})
    with open_lifecycle(config, NAME) as lifecycle:
        entry = lifecycle.move(move)
    assert standing(config).entries == (entry,)
    assert disagreements(config) == []


STEPS = ("before the ledger", "after the ledger", "after the aliases", "after the stages")


def kill_at(monkeypatch, config, *, step):
    """Let the process end at a step of the next move."""

    def ended_by(owner, name, *, after=True):
        original = getattr(owner, name)

        def dying(*arguments, **options):
            is_begun = intent_path(config, NAME).exists()
            if after or not is_begun:
                original(*arguments, **options)
            if is_begun:
                raise Killed

        monkeypatch.setattr(owner, name, dying)

    for books in (MLflowBooks, LocalBooks):
        if step.endswith("the ledger"):
            ended_by(books, "add", after=step.startswith("after"))
        if step == "after the aliases":
            ended_by(books, "set_stages")
    if step == "after the stages":
        ended_by(ModelRegistry, "set_stages")


@pytest.mark.parametrize("action", ["promote", "rollback"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_on_the_way(config, monkeypatch, *, step, action):
    """Whatever step a move is killed at, the next command finishes or withdraws it, and all agree."""
    promote(config, 1)
    promote(config, 2)
    wanted = 3 if action == "promote" else 1
    with monkeypatch.context() as patched:
        kill_at(patched, config, step=step)
        with pytest.raises(Killed):
            promote(config, wanted, action=action)
    said = mend_interrupted(config)
    assert disagreements(config) == []
    is_withdrawn = step == "before the ledger"
    assert ("withdrawn" in said[0]) == is_withdrawn
    assert standing(config).aliases.production == version(config, 2 if is_withdrawn else wanted)
    assert mend_interrupted(config) == []


@pytest.mark.parametrize("step", STEPS[1:])
def test_the_next_move_begins_where_a_killed_one_was_finished(config, monkeypatch, step):
    """Who opens the lifecycle after a killed move sees what that move put in production."""
    promote(config, 1)
    with monkeypatch.context() as patched:
        kill_at(patched, config, step=step)
        with pytest.raises(Killed):
            promote(config, 2)
    with open_lifecycle(config, NAME) as lifecycle:
        assert lifecycle.standing == standing(config)
        assert lifecycle.standing.aliases.production == version(config, 2)


def test_killed_after_the_copy(with_mlflow, monkeypatch):
    """The project's copy of the ledger is written before registry.json, which follows."""

    def dying(path, lines):
        write_mirror(path, lines)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(promotion, "write_mirror", dying)
        with pytest.raises(Killed):
            promote(with_mlflow, 1)
    assert local_stages(with_mlflow) == ["None", "None", "None"]
    mend_interrupted(with_mlflow)
    assert disagreements(with_mlflow) == []


def test_killed_between_alias_and_note(with_mlflow, monkeypatch):
    """Half of MLflow's own writes done, the rest follows: every single call may be the last."""
    calls = ("set_registered_model_alias", "set_model_version_tag", "set_registered_model_tag")
    for number, call in enumerate(calls, start=1):
        client_class = type(open_client(with_mlflow))
        original = getattr(client_class, call)

        def dying(*arguments, original=original, **options):
            original(*arguments, **options)
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(client_class, call, dying)
            with pytest.raises(Killed):
                promote(with_mlflow, number)
        mend_interrupted(with_mlflow)
        assert disagreements(with_mlflow) == [], call
        assert standing(with_mlflow).aliases.production == str(number)


def test_a_store_that_goes_away_in_the_middle(with_mlflow, monkeypatch, caplog):
    """It is said that the next command finishes what was begun, and it does; until then others say so too."""
    logging.getLogger("modelbook").propagate = True

    def away(*_, **__):
        raise StoreAwayError("the tracking store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(MLflowBooks, "set_stages", away)
        with pytest.raises(StoreAwayError) as caught:
            promote(with_mlflow, 1)
        assert "the next command that reaches the store finishes" in caught.value.hint
        assert mend_interrupted(with_mlflow) == []
    assert "was cut off and cannot be finished yet" in caplog.text
    promote(with_mlflow, 2)
    assert disagreements(with_mlflow) == []
    assert [entry.version for entry in standing(with_mlflow).entries] == ["1", "2"]


def test_another_project_was_quicker(with_mlflow):
    """Where another project took the entry's number nothing is changed, and it is said (exit 9)."""
    promote(with_mlflow, 1)
    with open_lifecycle(with_mlflow, NAME) as lifecycle:
        other = Lifecycle(with_mlflow, NAME, open_books(with_mlflow, NAME))
        other.mend()
        other.move(a_move(with_mlflow, 2))
        with pytest.raises(ProjectBusyError, match="another project") as caught:
            lifecycle.move(a_move(with_mlflow, 3))
    assert caught.value.exit_code == 9
    assert standing(with_mlflow).aliases.production == "2"
    assert disagreements(with_mlflow) == []


def test_another_project_died_on_the_way(with_mlflow, monkeypatch):
    """What another project on the same store left half done is finished, though no intent is found here."""
    with monkeypatch.context() as patched:
        kill_at(patched, with_mlflow, step="after the ledger")
        with pytest.raises(Killed):
            promote(with_mlflow, 1)
    shutil.rmtree(with_mlflow.path(FOLDER))  # it was another one's
    with open_lifecycle(with_mlflow, NAME):
        pass
    assert standing(with_mlflow).aliases.production == "1"


def test_aliases_moved_late(with_mlflow):
    """A killed move that set its alias after another project had moved on leaves what the ledger says."""
    for number in (1, 2, 3):
        promote(with_mlflow, number)
    intent_path(with_mlflow, NAME).write_text(standing(with_mlflow).lines[1])
    open_client(with_mlflow).set_registered_model_alias(NAME, "production", "2")
    assert mend_interrupted(with_mlflow) == ["promote of houses/2 to production was cut off: it is finished"]
    assert disagreements(with_mlflow) == []
    assert standing(with_mlflow).aliases.production == "3"


@pytest.mark.parametrize("step", STEPS[1:])
def test_killed_while_the_ledger_is_not_whole(config, monkeypatch, step):
    """A move past a damaged ledger is finished in registry.json too, and the damage still shows."""
    promote(config, 1)
    promote(config, 2)
    line = standing(config).lines[0]
    path = mirror_path(config, NAME)
    if config.training.enable_mlflow:
        with closing(sqlite3.connect(config.path("logs/mlflow.db"))) as database, database:
            database.execute("UPDATE params SET value = ? WHERE value = ?", (f"{line} ", line))
    else:
        path.write_text(path.read_text().replace(line, f"{line} "))
    with monkeypatch.context() as patched:
        kill_at(patched, config, step=step)
        with pytest.raises(Killed):
            promote(config, 3)
    mend_interrupted(config)
    assert local_stages(config) == ["Archived", "Archived", "Production"]
    assert standing(config).aliases.production == version(config, 3)
    assert standing(config).faults[0] == "entry 1 was changed: it is not what its hash says"


def test_a_version_that_was_deleted_meanwhile(with_mlflow):
    """Nothing is moved, and nothing is written down, where the version is gone."""
    open_client(with_mlflow).delete_model_version(NAME, "2")
    with pytest.raises(NotFoundError, match="no longer there"):
        promote(with_mlflow, 2)
    assert standing(with_mlflow).entries == ()
    assert disagreements(with_mlflow) == []


def test_a_move_that_is_at_work_is_left_alone(config):
    """An intent whose process lives is none that was interrupted."""
    intent = intent_path(config, NAME)
    intent.write_text("an intent")
    with FileLock(config.path(FOLDER) / "lifecycle.lock"):
        assert mend_interrupted(config) == []
    assert intent.exists()
    assert mend_interrupted(config) == [
        "a move that cannot be read was cut off: it is withdrawn, since the ledger does not have it"
    ]
    assert not intent.exists()


def test_an_alias_moved_past_modelbook(with_mlflow):
    """MLflow is the truth: what its own page put in production is what the next move takes the place of."""
    promote(with_mlflow, 1)
    open_client(with_mlflow).set_registered_model_alias(NAME, "production", "2")
    entry = promote(with_mlflow, 3)
    assert entry.before.production == "2"
    assert local_stages(with_mlflow) == ["Archived", "Archived", "Production"]


def test_a_store_that_lost_its_ledger(with_mlflow, empty_store):
    """A new database gets the ledger back from the project's copy, and aliases stay as they are."""
    promote(with_mlflow, 1)
    promote(with_mlflow, 2)
    shutil.copy(empty_store, with_mlflow.path("logs/mlflow.db"))
    client = open_client(with_mlflow)
    client.create_registered_model(NAME)
    client.create_model_version(NAME, source="file:///none", tags={DIGEST_TAG: "digest3"})
    with open_lifecycle(with_mlflow, NAME) as lifecycle:
        assert lifecycle.standing.aliases.production is None
        lifecycle.move(a_move(with_mlflow, 3).model_copy(update={"version": "1"}))
    assert [entry.version for entry in standing(with_mlflow).entries] == ["1", "2", "1"]
    assert standing(with_mlflow).faults == ()


def made_anew(config, *digests):
    """Let the store know the model, with versions of these digests, as the next run does."""
    client = open_client(config)
    client.create_registered_model(NAME)
    for digest in digests:
        client.create_model_version(NAME, source="file:///none", tags={DIGEST_TAG: digest})


@pytest.mark.parametrize("has_intent", [False, True])
def test_a_store_that_does_not_know_the_model(with_mlflow, empty_store, has_intent):
    """Nothing is touched while the store does not know the model; the copy restores the ledger then."""
    promote(with_mlflow, 1)
    promote(with_mlflow, 2)
    if has_intent:
        intent_path(with_mlflow, NAME).write_text(standing(with_mlflow).lines[1])
    folder = with_mlflow.path(FOLDER)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lines = standing(with_mlflow).lines
    shutil.copy(empty_store, with_mlflow.path("logs/mlflow.db"))
    assert mend_interrupted(with_mlflow) == []
    with pytest.raises(NotFoundError):
        promote(with_mlflow, 3, action="rollback")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    made_anew(with_mlflow, "digest1", "digest2", "digest3")
    mend_interrupted(with_mlflow)
    with open_lifecycle(with_mlflow, NAME):
        pass
    found = standing(with_mlflow)
    assert found.lines == tuple(found.mirror) == lines
    assert not intent_path(with_mlflow, NAME).exists()
    assert found.aliases.production is None


def test_a_lost_ledger_is_written_back_before_an_interrupted_move_is_judged(with_mlflow, empty_store):
    """A move that the store has lost with its ledger is not withdrawn, nor is the copy overwritten."""
    promote(with_mlflow, 1)
    intent_path(with_mlflow, NAME).write_text(standing(with_mlflow).lines[0])
    shutil.copy(empty_store, with_mlflow.path("logs/mlflow.db"))
    made_anew(with_mlflow, "digest1")
    restored, finished = mend_interrupted(with_mlflow)
    assert restored.startswith("the store had lost 1 entries of the ledger")
    assert finished == "promote of houses/1 to production was cut off: it is finished"
    assert standing(with_mlflow).faults == standing(with_mlflow).mirror_faults == ()


def test_a_damaged_copy_is_kept_where_an_interrupted_move_is_mended(with_mlflow):
    """What was found in a damaged copy is put aside before the copy is written anew, by whomever."""
    promote(with_mlflow, 1)
    promote(with_mlflow, 2)
    path = mirror_path(with_mlflow, NAME)
    write_mirror(path, [line.replace("ada", "eve") for line in read_mirror(path)])
    intent_path(with_mlflow, NAME).write_text(standing(with_mlflow).lines[1])
    damaged = path.read_bytes()
    mend_interrupted(with_mlflow)
    (aside,) = path.parent.glob("damaged_*.jsonl")
    assert aside.read_bytes() == damaged
    assert disagreements(with_mlflow) == []


def test_a_number_that_means_another_model_by_now(with_mlflow, empty_store):
    """A version that a new database gave a number of old was never in production itself."""
    promote(with_mlflow, 1)
    shutil.copy(empty_store, with_mlflow.path("logs/mlflow.db"))
    client = open_client(with_mlflow)
    client.create_registered_model(NAME)
    for digest in ("other1", "other2"):
        client.create_model_version(NAME, source="file:///none", tags={DIGEST_TAG: digest})
    with open_lifecycle(with_mlflow, NAME) as lifecycle:
        lifecycle.move(a_move(with_mlflow, 3).model_copy(update={"version": "2", "digest": "other2"}))
    assert [standing(with_mlflow).has(version) for version in ("1", "2", "3")] == [False, True, False]


def test_stages_of_numbers_that_mean_another_model_by_now(with_mlflow, empty_store):
    """A version that a new database gave a number of old has no stage, as MLflow says, unless it is moved."""
    promote(with_mlflow, 1)
    promote(with_mlflow, 2)
    shutil.copy(empty_store, with_mlflow.path("logs/mlflow.db"))
    made_anew(with_mlflow, "other1", "other2")
    model = with_mlflow.root / "model.bin"
    for number in ("1", "2"):
        ModelRegistry(with_mlflow).register_model(model, {}, {}, mlflow_version=number)
    with open_lifecycle(with_mlflow, NAME) as lifecycle:
        assert local_stages(with_mlflow) == ["Archived", "Archived", "None", "None", "None"]
        entry = lifecycle.move(a_move(with_mlflow, 2).model_copy(update={"digest": "other2"}))
    assert entry.stage_before == "None"
    assert local_stages(with_mlflow) == ["Archived", "Archived", "None", "None", "Production"]


def test_a_damaged_copy_is_put_aside(with_mlflow):
    """The next move writes the project's copy anew, and keeps what was found as evidence."""
    promote(with_mlflow, 1)
    promote(with_mlflow, 2)
    path = mirror_path(with_mlflow, NAME)
    write_mirror(path, [line.replace("ada", "eve") for line in read_mirror(path)])
    damaged = path.read_bytes()
    assert [fault.partition(":")[0] for fault in standing(with_mlflow).mirror_faults] == ["copy", "copy"]
    promote(with_mlflow, 3)
    (aside,) = path.parent.glob("damaged_*.jsonl")
    assert aside.read_bytes() == damaged
    assert disagreements(with_mlflow) == []


def test_mlflow_switched_off_or_on(config):
    """A history that is kept the other way, with MLflow or without, is named, and nothing is changed."""
    promote(config, 1)
    promote(config, 2)
    intent_path(config, NAME).write_text(read_mirror(mirror_path(config, NAME))[-1])
    folder = config.path(FOLDER)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    has_mlflow = config.training.enable_mlflow
    training = config.training.model_copy(update={"enable_mlflow": not has_mlflow})
    other = config.model_copy(update={"training": training})
    with pytest.raises(UsageError, match="history is kept") as caught:
        promote(other, 3)
    assert f"set training.enable_mlflow to {str(has_mlflow).lower()}" in caught.value.hint
    assert mend_interrupted(other) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert mend_interrupted(config) != []
    assert disagreements(config) == []
    assert local_stages(config) == ["Archived", "Production", "None"]


@pytest.mark.parametrize("is_experiment", [False, True])
def test_a_ledger_deleted_in_mlflow(with_mlflow, caplog, is_experiment):
    """The next move restores a ledger that somebody deleted on MLflow's page, with its experiment too."""
    logging.getLogger("modelbook").propagate = True
    promote(with_mlflow, 1)
    client = open_client(with_mlflow)
    run = client.get_run(client.get_registered_model(NAME).tags["modelbook.ledger"])
    if is_experiment:
        client.delete_experiment(run.info.experiment_id)
    else:
        client.delete_run(run.info.run_id)
    assert standing(with_mlflow).is_deleted
    promote(with_mlflow, 2)
    assert "the ledger had been deleted in MLflow: it is restored" in caplog.text
    assert [entry.version for entry in standing(with_mlflow).entries] == ["1", "2"]
    assert disagreements(with_mlflow) == []


def test_a_store_that_refuses(with_mlflow, monkeypatch):
    """What a store says that answers and refuses keeps its own hint."""

    def refused(*_, **__):
        raise TrackingStoreError("the experiment was deleted", hint="restore it in MLflow")

    monkeypatch.setattr(MLflowBooks, "add", refused)
    with pytest.raises(TrackingStoreError) as caught:
        promote(with_mlflow, 1)
    assert caught.value.hint == "restore it in MLflow"


def test_a_copy_that_is_gone(with_mlflow):
    """The next move writes the project's copy anew where somebody removed it."""
    promote(with_mlflow, 1)
    mirror_path(with_mlflow, NAME).unlink()
    promote(with_mlflow, 2)
    assert disagreements(with_mlflow) == []


def test_processes_at_once(config):
    """Processes of one project that move versions at once come one after the other, and lose nothing."""
    code = """
import sys
from modelbook.config import load_config
from modelbook.registry.ledger import Mover
from modelbook.registry.promotion import Move, open_lifecycle
move = Move(who=Mover(user="a", host="b"), action="promote", version=sys.argv[2], stage="Production")
with open_lifecycle(load_config(sys.argv[1]), "houses") as lifecycle:
    lifecycle.move(move)
"""
    words = [sys.executable, "-c", code, str(config.root)]
    running = [subprocess.Popen([*words, version(config, number)]) for number in (1, 2, 3)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    found = standing(config)
    assert sorted(entry.version for entry in found.entries) == [version(config, n) for n in (1, 2, 3)]
    assert find_faults(found.lines, head=found.head) == []
    assert disagreements(config) == []
