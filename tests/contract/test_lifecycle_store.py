"""The way to production on each kind of store: one order, entries that stay, aliases that follow."""

import pytest

from modelbook.config import load_config
from modelbook.errors import ProjectBusyError
from modelbook.registry.books import open_books
from modelbook.registry.ledger import Mover
from modelbook.registry.promotion import Lifecycle, Move, open_lifecycle
from modelbook.tracking.store import open_client


@pytest.fixture(params=["sqlite", "postgresql", "mlflow_server"])
def clones(request, light_project, tmp_path):
    """Two clones of a project on one store."""
    if request.param == "sqlite":
        store = tmp_path / "shared.db"
        store.write_bytes(request.getfixturevalue("empty_store").read_bytes())
        uri = f"sqlite:///{store}"
    else:
        uri = request.getfixturevalue(request.param)
    light_project(tmp_path / "one", uri=uri, name=f"ours-{tmp_path.name}")
    (tmp_path / "other/config").mkdir(parents=True)
    (tmp_path / "other/config/config.yaml").write_bytes((tmp_path / "one/config/config.yaml").read_bytes())
    return load_config(tmp_path / "one"), load_config(tmp_path / "other")


def a_move(version, reason=None):
    who = Mover(user="ada", host="here")
    digest = f"digest{version}"
    return Move(who=who, action="promote", version=version, digest=digest, stage="Production", reason=reason)


def test_two_clones(clones):
    """Both see one ledger; of two that move at once one is told, and has changed nothing."""
    one, other = clones
    name = one.tracking.model_name
    with open_lifecycle(one, name) as lifecycle:
        lifecycle.move(a_move("1", reason="ü" * 9000))  # more than a parameter holds
    with open_lifecycle(other, name) as slow:
        quick = Lifecycle(one, name, open_books(one, name))
        quick.mend()
        quick.move(a_move("2"))
        with pytest.raises(ProjectBusyError):
            slow.move(a_move("3"))
    with open_lifecycle(other, name) as lifecycle:
        lifecycle.move(a_move("3"))
    for config in clones:
        with open_lifecycle(config, name) as lifecycle:
            standing = lifecycle.standing
        assert [entry.version for entry in standing.entries] == ["1", "2", "3"]
        assert standing.entries[0].reason == "ü" * 9000
        assert (standing.aliases.production, standing.faults) == ("3", ())
        assert tuple(open_books(config, name).read().mirror) == standing.lines


def test_a_ledger_that_is_gone(clones):
    """Where the run that the model names is gone for good, the next entry is in the one that is there."""
    config = clones[0]
    name = config.tracking.model_name
    books = open_books(config, name)
    assert books.add(1, "the line")
    open_client(config).set_registered_model_tag(name, "modelbook.ledger", "0" * 32)
    assert books.add(2, "the next line")
    assert books.read().numbered[2] == "the next line"


def test_a_ledger_that_was_deleted(clones):
    """A run that somebody deleted on MLflow's page is there again, with all that it held."""
    config = clones[0]
    name = config.tracking.model_name
    books = open_books(config, name)
    assert books.add(1, "the line")
    client = open_client(config)
    client.delete_run(client.get_registered_model(name).tags["modelbook.ledger"])
    assert books.read().is_deleted
    books.undelete()
    assert books.add(2, "the next line")
    assert (books.read().is_deleted, len(books.read().lines)) == (False, 2)


def test_an_entry_has_its_number_once(clones):
    """A line is added twice without harm, and another one is refused its number."""
    books = open_books(clones[0], clones[0].tracking.model_name)
    assert books.add(1, "the line")
    assert books.add(1, "the line")
    assert not books.add(1, "another line")
    assert books.read().numbered == {1: "the line"}
