"""What the doctor says of ledgers and registries: interrupted moves finished, tampering and discord named."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from modelbook.config import load_config
from modelbook.errors import GateRejectedError, ModelbookError
from modelbook.pipeline.lifecycle import promoting
from modelbook.pipeline.lifecycle.history import read_history
from modelbook.pipeline.standing import examine_standing
from modelbook.registry.books import mirror_path, open_books
from modelbook.registry.ledger import Mover, hash_of, read_line, read_mirror, seal
from modelbook.registry.promotion import Move, intent_path, mend_interrupted, open_lifecycle
from modelbook.registry.registry import FOLDER, ModelRegistry
from modelbook.tracking.store import open_client

NAME = "houses"
KEY = "entry.{:06}"


@pytest.fixture(scope="module")
def moved(light_project, empty_store, tmp_path_factory):
    """A project whose three versions went to production one after the other."""
    root = light_project(tmp_path_factory.mktemp("mlflow") / NAME, store=empty_store)
    for number in (1, 2, 3):
        move(load_config(root), str(number))
    return root


@pytest.fixture
def config(moved, tmp_path):
    return load_config(shutil.copytree(moved, tmp_path / NAME))


def move(config, version):
    who = Mover(user="ada", host="here")
    with open_lifecycle(config, NAME) as lifecycle:
        lifecycle.move(Move(who=who, action="promote", version=version, stage="Production"))


def sql(config, statement, *values):
    """Change MLflow's database behind its back."""
    with closing(sqlite3.connect(config.path("logs/mlflow.db"))) as database, database:
        assert database.execute(statement, values).rowcount == 1


def stored(config, number):
    return open_books(config, NAME).read().numbered[number]


def replace(config, number, line):
    sql(config, "UPDATE params SET value = ? WHERE key = ?", line, KEY.format(number))


def remove(config, number):
    sql(config, "DELETE FROM params WHERE key = ?", KEY.format(number))


def one_byte(config):
    line = stored(config, 2)
    replace(config, 2, line.replace('"user":"ada"', '"user":"adb"'))


def one_removed(config):
    remove(config, 2)


def two_swapped(config):
    one, other = stored(config, 1), stored(config, 2)
    replace(config, 1, other)
    replace(config, 2, one)


def end_cut_off(config):
    remove(config, 3)


def all_gone(config):
    for number in (1, 2, 3):
        remove(config, number)


def written_anew(config):
    """Forge the last entry with every hash right, and the note of the end too."""
    line = seal(read_line(stored(config, 3)).model_copy(update={"reason": "never mind"}))
    replace(config, 3, line)
    head = f"3 {hash_of(line)}"
    sql(config, "UPDATE registered_model_tags SET value = ? WHERE key = 'modelbook.ledger_head'", head)


def run_deleted(config):
    client = open_client(config)
    client.delete_run(client.get_registered_model(NAME).tags["modelbook.ledger"])


TAMPERED = [
    (one_byte, "entry 2 was changed"),
    (one_removed, "entry 2 is missing"),
    (two_swapped, "entries 2 and 1 stand in the wrong order"),
    (end_cut_off, "entry 3 is missing: the end was cut off"),
    (all_gone, "entry 1 is missing"),
    (written_anew, "entry 3 is another one in the store than in the project's copy"),
    (run_deleted, "the run that is the ledger was deleted in MLflow"),
]


@pytest.mark.parametrize(("tamper", "said"), TAMPERED, ids=[case[0].__name__ for case in TAMPERED])
def test_tampering_in_the_store(config, tamper, said):
    """Whatever is done to the ledger in MLflow's database, doctor and history find and name it."""
    tamper(config)
    (ledger, *_) = [finding for finding in examine_standing(config) if finding.name == "ledger"]
    assert not ledger.is_well
    assert said in ledger.detail
    assert "modelbook history houses" in ledger.hint
    assert any(said in fault for fault in read_history(config, NAME).faults)


@pytest.mark.parametrize("tamper", [end_cut_off, all_gone])
def test_what_a_copy_can_restore(config, tamper):
    """Where the project's copy is whole no backup is needed: the next move writes the entries back."""
    tamper(config)
    (ledger, *_) = [finding for finding in examine_standing(config) if finding.name == "ledger"]
    assert "writes back what the store lost" in ledger.hint
    with open_lifecycle(config, NAME) as lifecycle:
        assert len(lifecycle.standing.entries) == 3
    assert [finding.is_well for finding in examine_standing(config)] == [True]


def test_a_forged_ledger_is_not_taken_for_the_truth(config, monkeypatch):
    """Where the store's ledger contradicts a whole copy nothing is overwritten, until somebody insists."""
    monkeypatch.setattr(promoting, "verify_candidate", lambda *_: None)  # the versions have no files
    monkeypatch.setattr(promoting, "_recorded", lambda *_: None)
    path = mirror_path(config, NAME)
    before = path.read_bytes()
    written_anew(config)
    with open_lifecycle(config, NAME) as lifecycle:
        (doubt,) = lifecycle.standing.doubts
        assert doubt == "entry 3 is another one in the store than in the project's copy"
    assert path.read_bytes() == before
    with pytest.raises(GateRejectedError, match="the ledger is not whole"):
        promoting.roll_back(config, NAME)
    with pytest.raises(ModelbookError, match="not promoted") as caught:
        promoting.promote(config, NAME, "1", to="production")
    assert f"ledger: {doubt}" in caught.value.got
    assert path.read_bytes() == before
    move(config, "1")
    (aside,) = path.parent.glob("damaged_*.jsonl")
    assert aside.read_bytes() == before
    found = open_books(config, NAME).read()
    assert (found.doubts, found.mirror_faults, found.lines) == ((), (), tuple(found.mirror))


def test_a_cut_off_move_takes_no_side(config):
    """Finishing what was cut off leaves a contradicted copy as it is."""
    before = mirror_path(config, NAME).read_bytes()
    written_anew(config)
    intent_path(config, NAME).write_text(stored(config, 3))
    assert mend_interrupted(config)
    assert mirror_path(config, NAME).read_bytes() == before
    assert open_books(config, NAME).read().is_contradicted


def byte_of_copy(lines):
    return [lines[0], lines[1].replace("ada", "adb"), lines[2]]


COPIES = [
    (byte_of_copy, "copy: entry 2 was changed"),
    (lambda lines: [lines[0], lines[2]], "copy: entry 2 is missing"),
    (lambda lines: [lines[1], lines[0], lines[2]], "copy: entries 2 and 1 stand in the wrong order"),
    (lambda lines: lines[:2], "copy: entry 3 is missing: the end was cut off"),
]


@pytest.mark.parametrize(("change", "said"), COPIES, ids=["byte", "removed", "swapped", "cut"])
def test_tampering_with_the_copy(config, change, said):
    """The project's copy is looked at as closely, also where the store's ledger is whole."""
    path = mirror_path(config, NAME)
    path.write_text("".join(f"{line}\n" for line in change(list(read_mirror(path)))))
    (ledger,) = [finding for finding in examine_standing(config) if finding.name == "ledger"]
    assert (ledger.is_well, said in ledger.detail) == (False, True)
    assert "writes it anew" in ledger.hint


def test_all_is_well(config):
    """A whole ledger is said to be whole, and nothing else is said."""
    (finding,) = examine_standing(config)
    assert (finding.is_well, finding.detail) == (True, "houses: 3 entries, whole")


def test_nothing_was_ever_registered(tmp_path):
    """Of a project without versions nothing is said, and nothing is made."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("tracking: {model_name: houses}\n")
    assert list(examine_standing(load_config(tmp_path))) == []
    assert not (tmp_path / "models").exists()
    assert not (tmp_path / "logs").exists()


def test_an_interrupted_move(config):
    """A move that was cut off is finished or withdrawn, and it is said which."""
    intent_path(config, NAME).write_text(stored(config, 3))
    first, *_ = examine_standing(config)
    assert first.is_well
    assert first.detail == "promote of houses/3 to production was cut off: it is finished"
    assert not intent_path(config, NAME).exists()


def test_stages_out_of_step(config):
    """A local registry that is behind MLflow's, as in another clone, is brought in line."""
    registry = ModelRegistry(config)
    registry.set_stages(NAME, {"1": "Production"}, head=None, by_number=True)
    details = [finding.detail for finding in examine_standing(config) if finding.name == "registries"]
    assert len(details) == 3
    assert details[0].endswith("was Production in registry.json and is Archived")
    assert [entry.stage for entry in registry.versions(NAME)] == ["Archived", "Archived", "Production"]


def test_versions_that_mlflow_does_not_have(config):
    """A local entry that names a version which MLflow does not have is named."""
    open_client(config).delete_model_version(NAME, "2")
    (finding,) = [finding for finding in examine_standing(config) if finding.name == "registries"]
    assert not finding.is_well
    assert "is to be version 2, which MLflow does not have" in finding.detail


def test_an_alias_moved_past_modelbook(config):
    """It is said where MLflow's aliases are not what the ledger says."""
    open_client(config).set_registered_model_alias(NAME, "production", "1")
    (finding,) = [finding for finding in examine_standing(config) if finding.name == "aliases"]
    assert finding.detail == "houses: 1 is in production, and the ledger says 3"


def test_mlflow_switched_off(config):
    """A ledger that is kept in MLflow is named where the project does without it, and no stage is touched."""
    training = config.training.model_copy(update={"enable_mlflow": False})
    without = config.model_copy(update={"training": training})
    (finding,) = examine_standing(without)
    assert not finding.is_well
    assert finding.detail == "the model's history is kept in MLflow: training.enable_mlflow: false"
    stages = [entry.stage for entry in ModelRegistry(config).versions(NAME)]
    assert stages == ["Archived", "Archived", "Production"]


def test_a_store_that_fails(config, free_port):
    """A store that does not answer is said elsewhere; nothing is guessed of its ledger."""
    text = config.path("config/config.yaml").read_text()
    address = f"http://127.0.0.1:{free_port}"
    changed = text.replace("model_name: houses", f"model_name: houses, uri: '{address}'")
    config.path("config/config.yaml").write_text(changed)
    assert list(examine_standing(load_config(config.root))) == []
    assert config.path(FOLDER).is_dir()
