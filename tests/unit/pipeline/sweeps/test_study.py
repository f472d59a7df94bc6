import pytest
from optuna.exceptions import StorageInternalError

from modelbook.errors import StorageError
from modelbook.pipeline.sweeps.space import as_space, decoded, parse_grid, points_of
from modelbook.pipeline.sweeps.study import SweepStudy

SPACE = as_space(
    {"a": {"low": 0.01, "high": 1.0, "log": True}, "b": {"low": 1, "high": 50}, "c": ["x", None]},
    where="here",
)


@pytest.fixture
def study(tmp_path):
    def open_study(name="study.db", *, space=SPACE, is_grid=False, is_lower_better=True):
        return SweepStudy(
            tmp_path / name,
            space=space,
            points=points_of(space) if is_grid else None,
            is_lower_better=is_lower_better,
            seed=7,
        )

    return open_study


def cost(point):
    values = decoded(point)
    return (values["a"] - 0.2) ** 2 + values["b"] / 100


def make(study, count, *, total=12):
    points = []
    for _ in range(count):
        asked = study.ask(total)
        study.tell(asked.number, cost(asked.point))
        points.append(asked)
    return points


def test_a_study_opened_again_goes_on_as_if_it_had_not_been_closed(study):
    """What a trial tries depends on those before it and on the seed alone; a begun trial is tried again."""
    whole = make(study("whole.db"), 12)
    parts = make(study(), 4)
    begun = study().ask(12)
    assert begun == whole[4]
    assert parts + make(study(), 8) == whole


def test_a_study_ends_with_the_trials_that_were_asked_for(study):
    """Asked for more later it goes on with further numbers."""
    make(study(), 3, total=3)
    assert study().ask(3) is None
    assert study().ask(5).number == 3
    assert study().ended == [0, 1, 2]


def test_a_grid_is_tried_in_its_order_whatever_was_interrupted(study):
    """Each point has its place as its number."""
    space = parse_grid([("a", "0.1,0.2"), ("b", "1,2")])
    points = points_of(space)
    first = study(space=space, is_grid=True)
    make(first, 1, total=4)
    first.ask(4)
    rest = make(study(space=space, is_grid=True), 3, total=4)
    assert [(asked.number, dict(asked.point)) for asked in rest] == list(enumerate(points))[1:]


def test_a_trial_that_is_put_off_comes_after_the_others(study):
    """It keeps its number and its point; closed before that, the study asks for it first."""
    opened = study()
    off = opened.ask(3)
    opened.put_off(off.number)
    assert [asked.number for asked in make(opened, 2, total=3)] == [1, 2]
    assert study().ask(3) == off
    assert opened.ask(3) == off
    assert opened.ask(3) is None


def test_trials_that_failed_or_were_given_up_are_done_and_never_the_best(study):
    """The best is the one of the lowest score, or of the highest."""
    for is_lower_better, best in ((True, 2), (False, 3)):
        opened = study(f"{is_lower_better}.db", is_lower_better=is_lower_better)
        scores = [None, None, 1.0, 2.0]
        for number, score in enumerate(scores):
            assert opened.ask(4).number == number
            if number == 1:
                opened.report(number, step=0, score=0.0)
            opened.tell(number, score, is_pruned=number == 1)
        assert opened.best.number == best
        assert len(opened.ended) == 4


def test_a_trial_that_promises_nothing_is_given_up(study):
    """After five trials, one whose second fold is worse than the median of theirs is."""
    opened = study()
    for _ in range(5):
        asked = opened.ask(12)
        assert all(opened.report(asked.number, step=fold, score=1.0) for fold in range(3))
        opened.tell(asked.number, 1.0)
    asked = opened.ask(12)
    assert opened.report(asked.number, step=0, score=9.0)
    assert not opened.report(asked.number, step=1, score=9.0)


@pytest.mark.parametrize("is_lower_better", [True, False])
def test_a_trial_is_held_against_the_mean_at_the_same_fold(study, *, is_lower_better):
    """Where the first fold is the easiest, its score excuses none of what comes after it."""
    sign = 1 if is_lower_better else -1
    opened = study(is_lower_better=is_lower_better)
    for _ in range(5):
        asked = opened.ask(12)
        assert all(opened.report(asked.number, step=fold, score=sign * (1.0 + fold)) for fold in range(3))
        opened.tell(asked.number, sign * 3.0)
    worse = opened.ask(12).number
    assert opened.report(worse, step=0, score=sign * 1.5)
    assert not opened.report(worse, step=1, score=sign * 2.5)
    equal = opened.ask(12).number
    assert all(opened.report(equal, step=fold, score=sign * (1.0 + fold)) for fold in range(3))


def test_a_point_of_a_grid_is_never_given_up(study):
    """Every value is tried to its end, however bad its folds are."""
    opened = study(space=parse_grid([("a", "1,2,3,4,5,6")]), is_grid=True)
    for score in (1.0, 1.0, 1.0, 1.0, 1.0, 9.0):
        asked = opened.ask(6)
        assert all(opened.report(asked.number, step=fold, score=score) for fold in range(3))
        opened.tell(asked.number, score)


def fill_disk(study):
    """Let a study's file grow no further, as on a full disk."""
    with study._study._storage._backend.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")


def make_with_folds(study):
    for _ in range(1000):
        asked = study.ask(1000)
        study.report(asked.number, step=0, score=1.0)
        study.tell(asked.number, 1.0)


def test_a_full_disk_is_the_disks_error(study, tmp_path):
    """It is said which file cannot be written, and with room again the study goes on."""
    opened = study()
    fill_disk(opened)
    with pytest.raises(StorageError, match="study cannot be written") as caught:
        make_with_folds(opened)
    assert caught.value.where == str(tmp_path / "study.db")
    assert caught.value.got == "database or disk is full"
    assert len(make(study(), 1, total=1000)) == 1


@pytest.mark.parametrize(
    ("way", "method"),
    [
        ("ask", "create_new_trial"),
        ("report", "set_trial_intermediate_value"),
        ("tell", "set_trial_state_values"),
    ],
)
def test_every_way_to_write_says_that_the_disk_is_full(study, monkeypatch, *, way, method):
    """What Optuna says of its storage is never passed on as it is."""

    def full(*_, **__):
        raise StorageInternalError("the commit failed") from OSError("database or disk is full")

    opened = study()
    number = opened.ask(9).number
    monkeypatch.setattr(opened._study._storage, method, full)
    calls = {
        "ask": lambda: opened.ask(9),
        "report": lambda: opened.report(number, step=0, score=1.0),
        "tell": lambda: opened.tell(number, 1.0),
    }
    with pytest.raises(StorageError) as caught:
        calls[way]()
    assert caught.value.got == "database or disk is full"


def test_importance_is_said_once_there_is_something_to_say(study):
    """Four trials are enough; shares sum to 1."""
    opened = study()
    make(opened, 3)
    assert opened.importances() == {}
    make(opened, 9)
    shares = opened.importances()
    assert set(shares) == set(SPACE)
    assert sum(shares.values()) == pytest.approx(1)


def test_the_only_setting_has_all_the_importance(study):
    """There is nothing to share out."""
    opened = study(space=parse_grid([("a", "0.1,0.2,0.3,0.4")]), is_grid=True)
    for score in (3.0, 2.0, 1.0, 2.0):
        opened.tell(opened.ask(4).number, score)
    assert opened.importances() == {"a": 1.0}


def test_no_study_yet_has_no_best(study):
    """Nothing is done and nothing is the best."""
    assert (study().best, study().ended) == (None, [])
