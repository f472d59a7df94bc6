"""A sweep's study: an Optuna study in a SQLite file, which says what to try next and forgets nothing."""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from modelbook.errors import StorageError
from modelbook.files import storage_errors
from modelbook.pipeline.sweeps.space import Choice, Point, Range, Space

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_NAME = "sweep"
_WAIT_FOR_FILE_S = 60
_TRIALS_BEFORE_PRUNING = 5
_FOLDS_BEFORE_PRUNING = 1
_FEWEST_FOR_IMPORTANCE = 4


class Asked(NamedTuple):
    """A trial to be made: its number, and each setting's value as JSON."""

    number: int
    point: Point


class Best(NamedTuple):
    """The best trial so far."""

    number: int
    score: float


class SweepStudy:
    """Says what to try next and notes what came of it; a trial that was begun and not told is tried again.

    What trial k tries depends on k, on the seed and on what the trials before it came to, never on how
    often the sweep was interrupted.

    Args:
        path: The SQLite file; made where there is none.
        space: What to try.
        points: The points of a grid, in their order; None has TPE choose.
        is_lower_better: Whether the smallest score is the best.
        seed: Of the choices.
    """

    def __init__(
        self,
        path: Path,
        *,
        space: Space,
        points: Sequence[Point] | None,
        is_lower_better: bool,
        seed: int,
    ) -> None:
        self._space, self._points, self._seed = space, points, seed
        self._is_lower_better = is_lower_better
        self._open: dict[int, Trial] = {}
        self._put_off: list[Trial] = []
        self._path = path
        _quiet()
        with _study_errors(path):
            if not path.is_file():
                _make(path, is_lower_better=is_lower_better)
            self._study = _load(path)
        self._left = [trial for trial in self._study.trials if not trial.state.is_finished()]

    @property
    def ended(self) -> list[int]:
        """The numbers of the trials that came to an end."""
        trials = self._study.get_trials(deepcopy=False)
        return [trial.number for trial in trials if trial.state.is_finished()]

    @property
    def best(self) -> Best | None:
        """The best of the completed trials; None where there is none."""
        try:
            best = self._study.best_trial
        except ValueError:
            return None
        return None if best.value is None else Best(best.number, best.value)

    def ask(self, total: int) -> Asked | None:
        """Return the next trial, those first that were begun before, and last those that were put off.

        None where `total` have been begun.

        Raises:
            StorageError: The study cannot be written.
        """
        with _study_errors(self._path):
            return self._next(total)

    def put_off(self, number: int) -> None:
        """Have a trial tried again, once all others have been begun."""
        self._put_off.append(self._open.pop(number))

    def report(self, number: int, *, step: int, score: float) -> bool:
        """Note the mean score after a fold and return whether the trial is worth going on with.

        A point of a grid always is. One that TPE chose is not, where its mean is worse than the median of
        those of the completed trials after the same fold.

        Raises:
            StorageError: The study cannot be written.
        """
        with _study_errors(self._path):
            self._open[number].report(score, step)
        if self._points is not None or step < _FOLDS_BEFORE_PRUNING:
            return True
        means = [trial.intermediate_values.get(step) for trial in self._completed()]
        known = [mean for mean in means if mean is not None]
        if len(known) < _TRIALS_BEFORE_PRUNING:
            return True
        return score <= median(known) if self._is_lower_better else score >= median(known)

    def tell(self, number: int, score: float | None, *, is_pruned: bool = False) -> None:
        """Note what a trial came to; no score means that it failed.

        Raises:
            StorageError: The study cannot be written.
        """
        from optuna.trial import TrialState

        trial = self._open.pop(number)
        with _study_errors(self._path):
            if is_pruned:
                self._study.tell(trial, state=TrialState.PRUNED)
            elif score is None:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._study.tell(trial, score)

    def importances(self) -> dict[str, float]:
        """Return the share of each swept setting in the score, the largest first; none for few trials."""
        complete = self._completed()
        if len(complete) < _FEWEST_FOR_IMPORTANCE or len({trial.value for trial in complete}) == 1:
            return {}
        if len(self._space) == 1:
            return dict.fromkeys(self._space, 1.0)
        from optuna.importance import get_param_importances

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {key: float(value) for key, value in get_param_importances(self._study).items()}

    def _completed(self) -> "list[FrozenTrial]":
        from optuna.trial import TrialState

        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _next(self, total: int) -> Asked | None:
        from optuna import Trial
        from optuna.trial import TrialState

        if self._left and self._left[0].state is TrialState.RUNNING:
            begun = self._left.pop(0)
            self._seed_for(begun.number)
            return self._asked(Trial(self._study, begun._trial_id))  # noqa: SLF001 (there is no other way)
        waiting, self._left = self._left, []
        number = len(self._study.get_trials(deepcopy=False)) - len(waiting)
        if number >= total:
            return self._asked(self._put_off.pop()) if self._put_off else None
        if self._points is not None and not waiting:
            self._study.enqueue_trial(dict(self._points[number]))
        self._seed_for(number)
        return self._asked(self._study.ask())

    def _asked(self, trial: "Trial") -> Asked:
        point = {key: _suggested(trial, key, entry) for key, entry in self._space.items()}
        self._open[trial.number] = trial
        return Asked(trial.number, point)

    def _seed_for(self, number: int) -> None:
        """Draw for each trial from a generator of its own: a resumed study would repeat its first draws."""
        from optuna.samplers import TPESampler

        self._study.sampler = TPESampler(seed=(self._seed + number) % 2**32)


def _suggested(trial: "Trial", key: str, entry: Choice | Range) -> str:
    if isinstance(entry, Choice):
        return str(trial.suggest_categorical(key, entry.choices))
    if entry.is_whole:
        step = int(entry.step or 1)
        return json.dumps(trial.suggest_int(key, int(entry.low), int(entry.high), step=step, log=entry.log))
    step_or_none = None if entry.step is None else float(entry.step)
    low, high = float(entry.low), float(entry.high)
    return json.dumps(trial.suggest_float(key, low, high, step=step_or_none, log=entry.log))


@contextmanager
def _study_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a file that it cannot write into a StorageError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError

    try:
        with storage_errors(path):
            yield
    except (StorageInternalError, DBAPIError) as error:
        cause = error if isinstance(error, DBAPIError) else error.__cause__
        raise StorageError(
            "the sweep's study cannot be written",
            where=str(path),
            got=str(getattr(cause, "orig", cause)),
            hint="free some space and run the command again: it goes on where this one stopped",
        ) from error


def _make(path: Path, *, is_lower_better: bool) -> None:
    """Make the file whole or not at all: one that a killed process left half laid out cannot be used."""
    from optuna import create_study

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    storage = _storage(temporary)
    direction: Literal["minimize", "maximize"] = "minimize" if is_lower_better else "maximize"
    create_study(storage=storage, study_name=_NAME, direction=direction)
    storage.remove_session()
    storage.engine.dispose()
    temporary.replace(path)


def _load(path: Path) -> "Study":
    from optuna import load_study

    return load_study(storage=_storage(path), study_name=_NAME)


def _storage(path: Path) -> Any:
    from optuna.storages import RDBStorage

    options = {"connect_args": {"timeout": _WAIT_FOR_FILE_S}}
    return RDBStorage(f"sqlite:///{path}", engine_kwargs=options)


def _quiet() -> None:
    """Keep Optuna from printing each trial, and what it has to say about its own calls."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.disable_default_handler()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"optuna\.")
