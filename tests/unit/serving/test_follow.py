import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from modelbook.config import load_config
from modelbook.errors import ModelbookError, ModelRefusedError, NotFoundError, StoreAwayError
from modelbook.registry.registry import ModelRegistry
from modelbook.registry.shelf import Shelf
from modelbook.registry.wanted import digest_of, find_wanted, parse_wanted
from modelbook.serving import follow
from modelbook.serving.current import Current
from modelbook.serving.follow import Follower, make_ready
from modelbook.serving.golden import Golden
from modelbook.serving.making import Order, make
from modelbook.serving.manifest import COMPILED, GOLDEN, Manifest, seal

ROW = {"area": np.array([100.0]), "rooms": np.array([4.0]), "town": np.array(["Porto"], dtype=object)}


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """The versions whose bundles were made, in this process and not in one of its own."""
    made = []

    def prepare(config, wanted, *, is_anew=False):
        digest = digest_of(wanted)
        if digest is None or is_anew or not Shelf(config).bundle(digest).is_dir():
            made.append(wanted.version)
            words = {"name": wanted.name, "version": wanted.version, "digest": digest}
            return make(config, Order(settings={}, root="", **words))
        return digest

    monkeypatch.setattr(follow, "prepare", prepare)
    return made


class Scene:
    """A project without MLflow that has two versions, and a server that follows it."""

    def __init__(self, root):
        self.time_s = 0.0
        self.config = load_config(root)
        self.name = self.config.tracking.model_name
        self.registry = ModelRegistry(self.config)
        self.first, self.second = (entry.version for entry in self.registry.versions(self.name))
        self.start()

    def start(self, server="a1", ref=None):
        """Begin anew, as another worker of a server or as another server."""
        self.current = Current(alias="production")
        self.follower = Follower(
            self.config,
            parse_wanted(ref or self.name),
            self.current,
            server=server,
            clock=lambda: self.time_s,
        )

    def stage(self, **stages):
        """Let versions have stages, and no other version one."""
        named = {getattr(self, name): stage for name, stage in stages.items()}
        none = dict.fromkeys((self.first, self.second), "Archived")
        self.registry.set_stages(self.name, none | named, head=None, by_number=False)

    def look(self):
        """Let the server look, and return the version that answers."""
        self.follower.look()
        return self.current.serving and self.current.serving.version

    def predict(self):
        """Return what the served version says of a row."""
        return self.current.serving.runtime.predict(ROW).predictions[0]

    def damage(self, version):
        """Change a byte of a version's file."""
        path = self.config.path(self.registry.find(self.name, version).file)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink()
        path.write_bytes(content)


@pytest.fixture
def scene(two_versions, tmp_path):
    project = two_versions.copy(tmp_path / "houses")
    project.set({"training.enable_mlflow": "false"})
    return Scene(project.root)


def test_the_newest_answers_until_something_is_promoted(scene, made):
    """Where nothing is in production the newest version answers, and the server says so."""
    assert scene.look() == scene.second
    assert "nothing of" in scene.current.problem
    newest = scene.predict()
    scene.stage(first="Production")
    assert scene.look() == scene.first
    assert (scene.current.problem, scene.current.swaps, made) == (None, 1, [scene.second, scene.first])
    assert scene.predict() != newest


def test_a_rollback_opens_what_is_there(scene, made):
    """A version that answered before is opened again, and not made again."""
    for name in ("first", "second", "first"):
        scene.stage(**{name: "Production"})
        assert scene.look() == getattr(scene, name)
    assert made == [scene.first, scene.second]


def test_what_was_promoted_stays_without_an_alias(scene):
    """Taking the alias away puts nothing else in place, in no worker of this server; the next begins anew."""
    scene.stage(first="Production")
    scene.look()
    scene.stage()
    assert scene.look() == scene.first
    assert scene.current.problem == "nothing is in production any more"
    scene.start()
    assert scene.look() == scene.first
    scene.start(server="b2")
    assert scene.look() == scene.second


def test_a_bad_version_gets_no_request(scene, made):
    """A version whose file was changed is counted, named and not let in, and the former one answers."""
    scene.stage(first="Production")
    scene.look()
    scene.damage(scene.second)
    scene.stage(second="Production")
    assert [scene.look() for _ in range(3)] == [scene.first] * 3
    assert (scene.current.rejected, scene.current.is_stale, made[1:]) == (1, False, [scene.second])
    assert scene.current.problem.startswith(f"{scene.name}/{scene.second} is not let in: ")
    scene.time_s = 300
    scene.look()
    assert scene.current.rejected == 2
    scene.stage(first="Production")
    assert scene.look() == scene.first
    assert scene.current.problem is None
    scene.stage(second="Production")
    scene.look()
    assert scene.current.rejected == 3


def test_a_bad_version_at_the_start(scene):
    """A server that begins with a bad version lets the last verified one answer, or none."""
    scene.damage(scene.second)
    scene.stage(second="Production")
    assert scene.look() is None
    with pytest.raises(ModelRefusedError):
        make_ready(scene.config, parse_wanted(scene.name))
    scene.stage(first="Production")
    scene.time_s = 60
    assert scene.look() == scene.first
    scene.stage(second="Production")
    scene.start(server="b2")
    assert scene.look() == scene.first
    assert scene.current.rejected == 1
    assert make_ready(scene.config, parse_wanted(scene.name)).version == scene.first


def change_golden(folder):
    """Let a bundle ask for other answers than those of its model."""
    golden = Golden.read(folder / GOLDEN)
    others = tuple(value + 1000 for value in golden.predictions)
    golden.model_copy(update={"predictions": others}).write(folder / GOLDEN)
    seal_again(folder)


def seal_again(folder):
    """Let a bundle be believed as it is."""
    seal(folder, Manifest.read(folder / "bundle.json").model_copy(update={"files": {}}))


def test_a_version_that_answers_otherwise(scene, monkeypatch):
    """A version that does not say of its golden rows what it said when it was recorded is not let in."""
    scene.stage(first="Production")
    scene.look()
    prepare = follow.prepare

    def prepare_otherwise(config, wanted, **words):
        digest = prepare(config, wanted, **words)
        change_golden(Shelf(config).bundle(digest))
        return digest

    monkeypatch.setattr(follow, "prepare", prepare_otherwise)
    scene.stage(second="Production")
    assert scene.look() == scene.first
    assert "does not answer as it did when it was recorded" in scene.current.problem
    assert scene.current.rejected == 1


def write_nothing_known(folder, name):
    """Let a file of a bundle be what another version of Modelbook writes."""
    (folder / name).unlink()
    (folder / name).write_text("{}")
    seal_again(folder)


@pytest.mark.parametrize(
    "change",
    [
        change_golden,
        lambda folder: write_nothing_known(folder, GOLDEN),
        lambda folder: write_nothing_known(folder, COMPILED),
    ],
    ids=["answers", "golden", "compiled"],
)
def test_a_bundle_of_another_time_is_made_again(scene, made, change):
    """A bundle that an upgrade left behind, or by which its model answers otherwise, keeps no server away."""
    scene.stage(first="Production")
    scene.look()
    change(Shelf(scene.config).bundle(scene.current.serving.runtime.record.digest))
    scene.start(server="b2")
    assert scene.look() == scene.first
    assert made == [scene.first, scene.first]


def test_a_bundle_of_another_model_is_made_again(scene, made):
    """What lies under a digest is the model of that digest, or it does not answer."""
    scene.stage(first="Production")
    scene.look()
    first = Shelf(scene.config).bundle(scene.current.serving.runtime.record.digest)
    scene.stage(second="Production")
    digest = digest_of(find_wanted(scene.config, parse_wanted(scene.name)))
    shutil.copytree(first, Shelf(scene.config).bundle(digest))
    assert scene.look() == scene.second
    assert scene.current.serving.runtime.record.digest == digest
    assert made == [scene.first, scene.second]


def test_a_version_whose_making_fails_at_the_start(scene, monkeypatch):
    """Whatever ends the making, the last verified version answers; where there is none, it is said why."""

    def crash(_config, wanted, **_words):
        if wanted.version == scene.second:
            raise ModelbookError("the process ended without an answer", got="signal 9")

    monkeypatch.setattr(follow, "find_last", lambda *_: find_wanted(scene.config, scene.kept))
    scene.kept = parse_wanted(f"{scene.name}/{scene.first}")
    monkeypatch.setattr(follow, "prepare", crash)
    scene.stage(second="Production")
    assert make_ready(scene.config, parse_wanted(scene.name)).version == scene.first
    scene.kept = parse_wanted("nobody")
    with pytest.raises(ModelbookError, match="without an answer"):
        make_ready(scene.config, parse_wanted(scene.name))


def test_who_makes_a_bundle_holds_up_no_other_version(scene):
    """Old bundles are cleared when nobody is at them, and nobody waits for that."""
    scene.stage(first="Production")
    scene.look()
    scene.stage(second="Production")
    scene.look()
    scene.stage(first="Production")
    with Shelf(scene.config).alone(), ThreadPoolExecutor(1) as threads:
        looking = threads.submit(scene.look)
        assert looking.result(20) == scene.first


def test_other_columns_need_a_new_start(scene):
    """A version that wants columns which clients do not send is not let in, by any worker of this server."""
    scene.stage(first="Production")
    scene.look()
    runtime = scene.current.serving.runtime
    inputs = runtime.record.inputs[1:]
    runtime.record = runtime.record.model_copy(update={"inputs": inputs})
    scene.stage(second="Production")
    assert scene.look() == scene.first
    assert "a column that clients do not send" in scene.current.problem
    scene.start(server="b2")
    assert scene.look() == scene.second


def test_a_bundle_that_was_changed_is_made_again(scene, made):
    """What lies in the cache is not believed: a changed bundle is made again from the registered model."""
    scene.stage(first="Production")
    scene.look()
    folder = next(scene.config.path("models/serving/bundles").iterdir())
    (folder / "bundle.json").write_text("{}")
    scene.start()
    assert scene.look() == scene.first
    assert made == [scene.first, scene.first]


def test_a_registry_that_is_away(scene, made, *, monkeypatch, caplog):
    """With the registry away the version answers on, a server that begins serves the last; both say so."""

    def away(*_words):
        raise StoreAwayError("the tracking server does not answer", got="refused")

    scene.stage(first="Production")
    scene.look()
    with monkeypatch.context() as patched:
        patched.setattr(follow, "find_wanted", away)
        assert scene.look() == scene.first
        assert (scene.current.is_stale, scene.current.is_ready) == (True, True)
        assert scene.current.problem == "the tracking server does not answer"
        assert "the tracking server does not answer (refused)" in caplog.messages
        scene.start(server="b2")
        assert scene.look() == scene.first
        assert scene.current.is_stale
        assert make_ready(scene.config, parse_wanted(scene.name)).version == scene.first
    assert scene.look() == scene.first
    assert (scene.current.is_stale, scene.current.problem, made) == (False, None, [scene.first])


def test_a_store_that_goes_while_a_version_is_fetched(scene, monkeypatch):
    """A version that cannot be fetched is not a bad one: it is tried again before long."""
    scene.stage(first="Production")
    scene.look()
    scene.stage(second="Production")
    tries = []

    def away(_config, wanted, **_words):
        tries.append(wanted.version)
        raise StoreAwayError("the tracking server does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(follow, "prepare", away)
        assert [scene.look() for _ in range(3)] == [scene.first] * 3
        assert (scene.current.is_stale, scene.current.rejected, len(tries)) == (True, 0, 1)
    scene.time_s = 31
    assert scene.look() == scene.second
    assert not scene.current.is_stale


@pytest.mark.parametrize("since", ["first", "neither"])
def test_a_version_that_is_rolled_back_while_it_is_prepared(scene, monkeypatch, since):
    """What the registry names no more once it is ready does not answer a single request."""
    scene.stage(first="Production")
    scene.look()
    scene.stage(second="Production")
    prepare, closed = follow.prepare, []

    def prepare_slowly(config, wanted, **words):
        digest = prepare(config, wanted, **words)
        scene.stage(**({since: "Production"} if since == "first" else {}))
        return digest

    monkeypatch.setattr(follow, "prepare", prepare_slowly)
    monkeypatch.setattr(follow, "close_runtime", closed.append)
    assert scene.look() == scene.first
    assert (scene.current.swaps, len(closed)) == (0, 1)
    assert scene.current.problem == (None if since == "first" else "nothing is in production any more")


def test_another_version_that_is_promoted_meanwhile(scene, monkeypatch):
    """A server that begins asks again, and lets what the registry names by then answer at once."""
    scene.stage(second="Production")
    prepare = follow.prepare

    def prepare_slowly(config, wanted, **words):
        scene.stage(first="Production")
        return prepare(config, wanted, **words)

    monkeypatch.setattr(follow, "prepare", prepare_slowly)
    assert scene.look() == scene.first
    assert (scene.current.swaps, scene.current.problem) == (0, None)


def test_a_store_that_goes_before_a_version_is_in_place(scene, monkeypatch):
    """A version that is ready answers, where nobody can say that it is meant no more."""
    asked = []

    def ask_once(*words):
        asked.append(1)
        if len(asked) == 2:
            raise StoreAwayError("the tracking server does not answer")
        return find_wanted(*words)

    scene.stage(first="Production")
    monkeypatch.setattr(follow, "find_wanted", ask_once)
    assert scene.look() == scene.first


def test_old_bundles_are_removed(scene, monkeypatch):
    """The cache keeps the newest few bundles."""
    monkeypatch.setattr("modelbook.registry.shelf.Shelf.clear.__defaults__", (1,))
    for name in ("first", "second"):
        scene.stage(**{name: "Production"})
        scene.look()
    wanted = find_wanted(scene.config, parse_wanted(scene.name))
    folders = list(scene.config.path("models/serving/bundles").glob("[!.]*"))
    assert [folder.name for folder in folders] == [wanted.digest]


def test_a_model_that_is_not_there(scene):
    """A name that nobody registered is an error before the server begins, and a problem in it afterwards."""
    with pytest.raises(NotFoundError):
        make_ready(scene.config, parse_wanted("nobody"))
    scene.start(ref="nobody")
    assert scene.look() is None
    assert scene.current.problem == "there is no such model"
    assert not scene.current.is_ready
