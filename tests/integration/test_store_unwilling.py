"""A tracking store that cannot be found, swallows what it is sent, or answers and lets nobody in."""

import socket
import struct
import threading
import time
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

from modelbook.config import load_config
from modelbook.errors import StoreAwayError, TrackingStoreError
from modelbook.tracking.store import knows, open_client, open_patient

TRYING_S = 5
IMPORTING_S = 5  # of MLflow, which a healthy store costs too

TREES = "model.hyperparameters.random_forest.n_estimators"


def settings(uri):
    return load_config({"tracking": {"uri": uri}})


def seconds_of(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


def of_postgresql(uri, *, user="ada", database="postgres"):
    return f"postgresql://{user}@{urlsplit(uri).netloc.rpartition('@')[2]}/{database}"


@pytest.mark.parametrize(
    ("words", "said"),
    [({"database": "nowhere"}, 'database "nowhere" does not exist'), ({"user": "eve"}, 'role "eve"')],
    ids=["no such database", "no such role"],
)
def test_a_database_that_refuses_is_said_at_once(postgresql, *, words, said):
    """A PostgreSQL that answers and refuses says why, in no more than the patience of a run."""
    open_client(settings(postgresql))  # what a healthy store costs once: importing MLflow, laying it out
    config = settings(of_postgresql(postgresql, **words))
    for opening in (open_client, open_patient):

        def refused(opening=opening):
            with pytest.raises(StoreAwayError) as caught:
                opening(config)
            assert said in caught.value.got

        assert seconds_of(refused) < TRYING_S + IMPORTING_S


def test_a_database_that_lets_us_in_is_laid_out(postgresql):
    """A database that MLflow has not used before is laid out by the first who opens it."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE fresh"))
    engine.dispose()
    client = open_patient(settings(of_postgresql(postgresql, database="fresh")))
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]


def test_a_driver_that_is_not_installed_is_said():
    """A missing driver is said and is no outage; the hint names the extra that brings PostgreSQL's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = settings(f"mysql+mysqldb://ann:hush@127.0.0.1:{server.getsockname()[1]}/runs")
        with pytest.raises(TrackingStoreError, match="driver is not installed") as caught:
            open_client(config)
    assert not isinstance(caught.value, StoreAwayError)
    assert "hush" not in str(caught.value)
    assert "'modelbook[postgres]'" in str(caught.value.hint)


STARTING = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"


@contextmanager
def answering(*, after_tls):
    """Speak PostgreSQL until it comes to letting somebody in, and then say something, or nothing."""
    is_over = threading.Event()

    def serve(connection):
        with closing(connection):
            connection.recv(8)
            connection.sendall(b"N")
            if not connection.recv(1024):
                return
            if after_tls:
                connection.sendall(after_tls)
            is_over.wait(60)

    def accept(server):
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        yield f"postgresql://ada@127.0.0.1:{server.getsockname()[1]}/postgres"
        server.shutdown(socket.SHUT_RDWR)
        is_over.set()


@contextmanager
def starting():
    """Be a PostgreSQL that starts."""
    with answering(after_tls=b"E" + struct.pack("!i", len(STARTING) + 4) + STARTING) as uri:
        yield uri


@contextmanager
def mute():
    """Be a PostgreSQL that never says whether it lets somebody in."""
    with answering(after_tls=b"") as uri:
        yield uri


@contextmanager
def nameless():
    """Be a name that nobody resolves, and nobody says so."""
    is_over = threading.Event()

    def never(*_args, **_options):
        is_over.wait(60)
        raise socket.gaierror("no such name")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", never)
        yield "http://runs.example.org:5000"
        is_over.set()


@contextmanager
def swallowing():
    """Be a host that answers no attempt to connect: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as first:
        first.connect(server.getsockname())
        with socket.socket() as second:
            second.setblocking(False)  # noqa: FBT003 (it has no keyword)
            second.connect_ex(server.getsockname())
            yield f"http://127.0.0.1:{server.getsockname()[1]}"


UNWILLING = [starting, mute, nameless, swallowing]


@pytest.mark.parametrize("store", UNWILLING)
def test_what_a_store_knows_is_asked_in_time(store):
    """Asked whether it holds a run, a store that does not answer is given up within the patience of a run."""
    with store() as uri:

        def unanswered():
            with pytest.raises(StoreAwayError):
                knows(settings(uri), run_id="0" * 32, model="prices", version="1")

        assert seconds_of(unanswered) < TRYING_S + IMPORTING_S


@pytest.mark.parametrize("store", UNWILLING)
def test_a_run_with_nothing_to_do_tries_once(project, store):
    """A run that finds nothing to do tries such a store for 5 s at most, all in all, and ends well."""
    usual = seconds_of(project.run)
    before = project.metadata
    with store() as uri:
        project.set({"tracking.uri": uri})
        assert seconds_of(project.run) < usual + TRYING_S + 1
    assert project.metadata == before


@pytest.mark.slow
@pytest.mark.parametrize("store", UNWILLING)
def test_a_run_tries_once(project, store, tmp_path):
    """A run that trains tries such a store for 5 s at most, and so does the one after it, which delivers."""
    other = project.copy(tmp_path / "other")
    usual = seconds_of(lambda: retrained(other, "6"))
    with store() as uri:
        project.set({"tracking.uri": uri})
        for trees in ("6", "7"):
            assert seconds_of(lambda trees=trees: retrained(project, trees)) < usual + TRYING_S + 2
    assert len(list((project.root / "logs/outbox").glob("[!.]*"))) == 2


def retrained(project, trees):
    project.set({TREES: trees})
    project.run()
