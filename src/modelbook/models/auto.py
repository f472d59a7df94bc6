"""The automatic choice: what of the catalogue, with which settings and in which mixture, predicts best.

It is made on training rows alone, by predictions of rows that what predicts them has not seen. How far it
comes depends on the machine and the clock; what it comes to is settings like any other, which are recorded,
and which make the same model wherever and whenever they are fitted.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelbook.config import Config
from modelbook.errors import ConfigError, StorageError
from modelbook.features.engineer import FeatureEngineer, transform_errors
from modelbook.logs import PipelineLogger, format_number
from modelbook.models.blending import (
    held_out_answer,
    least_squares_weights,
    likelihood_weights,
    plain_weights,
)
from modelbook.models.build import build_estimator
from modelbook.models.estimators import AUTO, BLEND, thread_count
from modelbook.models.fit import quietly
from modelbook.models.folds import folds
from modelbook.models.parts import inner, iterations, tell_categories
from modelbook.models.portfolio import drawn, portfolio, tunable
from modelbook.models.stopping import as_learned, category_columns
from modelbook.models.target import check_target
from modelbook.models.threads import side_by_side, threads_each
from modelbook.records import Candidate, Outcome, Trial

DEFAULT_BUDGET_S = 300.0

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Clock = Callable[[], float]

_FOLDS = 4
# Beyond so many rows one part held back says enough, and four fits take too long.
_FOLDED_ROWS = 100_000
_PROBED_ITERATIONS = 15
_PROBED_ROWS = 5_000
_PROBED_SHARE = 0.05
# Of the time that is left: what looking at all rows of a large table may take.
_PROBING_SHARE = 0.1
_FEWEST_ITERATIONS = 60
_PATIENCE_ROUNDS = 120
# Of the budget: what is not planned for, since the fits to come are estimates.
_SPARED = 0.07
_MOST_MEMBERS = 8
_LEAST_PROBABILITY = 1e-15
_LOG = PipelineLogger("auto")


class _Fold(NamedTuple):
    """A fold's features, fitted on its training rows: matrices and targets of both parts."""

    matrix: Floats
    y: Array
    others: Floats
    held: Array
    categories: list[int]


class _Tried(NamedTuple):
    """A candidate as it was asked for and with the iterations that it needs, and what came of it.

    What it says of held-out rows is `said`; `work_s` is one thread's work on a fold.
    """

    asked: Candidate
    candidate: Candidate
    said: Floats
    score: float
    work_s: float


def search(config: Config, X: pd.DataFrame, *, y: Array, clock: Clock = time.monotonic) -> Outcome:
    """Return the settings that `model.algorithm: auto` comes to within `training.time_budget_s`.

    Candidates of the catalogue are fitted in folds of the training rows, features included. First come
    settings that are good on most tables, then others drawn around the best of them, as long as what is still
    to come fits into the budget: the fit of everything chosen on all training rows is part of it. The weights
    of those chosen are found from their predictions of held-out rows. Folds are fitted side by side.

    Args:
        config: The settings.
        X: Raw columns of training rows, `(n_rows, n_columns)`.
        y: The target, `(n_rows,)`.
        clock: Seconds that pass.

    Raises:
        ConfigError: The features cannot be made, or no candidate can be fitted within the budget.
        DataInvalidError: There are too few rows, or the target cannot be transformed as it is to be.

    Source:
        R. Caruana, A. Niculescu-Mizil, G. Crew and A. Ksikes, "Ensemble Selection from Libraries of Models",
        ICML (2004), for a library of models that are weighed by held-out predictions; the weights themselves
        are those of `blending`.
    """
    check_target(config, y)
    began = clock()
    budget_s = config.training.time_budget_s or DEFAULT_BUDGET_S
    with transform_errors(config), quietly():
        hunt = _Hunt(config, X, y=y, ends_at=began + budget_s * (1 - _SPARED), clock=clock)
        hunt.try_all()
        chosen, weights = hunt.choose()
    outcome = Outcome(
        algorithm=BLEND if len(chosen) > 1 else chosen[0].candidate.algorithm,
        hyperparameters=_hyperparameters(chosen, weights),
        metric=hunt.metric,
        score=hunt.score(_mixed(chosen, weights)),
        trials=tuple(hunt.trials),
        seconds=round(clock() - began, 1),
    )
    _LOG.info(
        f"{len(outcome.trials)} candidates tried in {outcome.seconds:.0f} s, {len(chosen)} chosen: "
        f"{outcome.metric} {format_number(outcome.score)} on held-out training rows"
    )
    return outcome


def settled(config: Config, outcome: Outcome) -> Config:
    """Return the settings with what a search came to in the place of `auto`."""
    hyperparameters = {outcome.algorithm: outcome.hyperparameters}
    update = {"algorithm": outcome.algorithm, "hyperparameters": hyperparameters}
    training = config.training.model_copy(update={"early_stopping": None})
    model = config.model.model_copy(update=update)
    return config.model_copy(update={"model": model, "training": training})


def is_auto(config: Config) -> bool:
    """Return whether the settings leave the choice to the search."""
    return config.model.algorithm == AUTO


class _Hunt:
    """One search: the folds, and what was tried on them so far."""

    def __init__(self, config: Config, X: pd.DataFrame, *, y: Array, ends_at: float, clock: Clock) -> None:
        self.config = config
        self.trials: list[Trial] = []
        self._tried: list[_Tried] = []
        self._clock = clock
        self._ends_at = ends_at
        self._classes = np.unique(y)
        self._threads = thread_count(config.training.n_jobs)
        pairs = _pairs(config, X, y)
        self._count = len(pairs)
        self._share = threads_each(self._count, self._threads)
        began = clock()
        self._folds = self._of_each(lambda pair: _fold(config, X, y=y, train=pair[0], held=pair[1]), pairs)
        self._features_s = (clock() - began) / self._turns
        self._actual = np.concatenate([fold.held for fold in self._folds])
        self._growth = len(y) / float(np.mean([len(fold.y) for fold in self._folds]))

    @property
    def metric(self) -> str:
        """What candidates are compared by; less is better."""
        return "rmse" if self.config.project.task == "regression" else "log_loss"

    def try_all(self) -> None:
        """Try the portfolio, then draws around the best of it, as long as time is left."""
        for candidate in portfolio(self.config):
            self._try(candidate)
        if not self._tried:
            raise ConfigError(
                "the automatic search could fit nothing within its budget",
                mistakes=tuple(f"{trial.algorithm}: {trial.note}" for trial in self.trials),
                where="training.time_budget_s",
                hint="raise training.time_budget_s, or name an algorithm",
            )
        random = np.random.default_rng(self.config.training.seed)
        bases = self._bases()
        failures = 0
        while bases and failures < len(bases):
            base = bases[len(self.trials) % len(bases)]
            failures = 0 if self._try(drawn(base, self.config, random)) else failures + 1

    def choose(self) -> tuple[list[_Tried], list[float]]:
        """Return the candidates to fit on all training rows, and their weights."""
        best = sorted(self._tried, key=lambda one: one.score)[: 2 * _MOST_MEMBERS]
        weights = self._weights(best)
        order = np.argsort(weights)[::-1][:_MOST_MEMBERS]
        chosen = [best[place] for place in order if weights[place]]
        return chosen, self._weights(chosen)

    def score(self, said: Floats) -> float:
        """Return how far what was said of held-out rows is from what is true."""
        if self.metric == "rmse":
            return float(np.sqrt(np.mean((said - self._actual) ** 2)))
        return float(-np.mean(np.log(np.maximum(said, _LEAST_PROBABILITY))))

    def _weights(self, tried: list[_Tried]) -> list[float]:
        said = np.column_stack([one.said for one in tried])
        if len(tried) == 1:
            return [1.0]
        if self.metric == "rmse":
            return plain_weights(least_squares_weights(said, self._actual))
        return plain_weights(likelihood_weights(said))

    def _bases(self) -> tuple[Candidate, ...]:
        """Return what to draw around: the better half of the algorithms that can be tuned.

        As they were asked for: other settings may need more iterations than these did.
        """
        ordered = sorted(self._tried, key=lambda one: -one.score)
        found = tunable((one.asked for one in ordered), self.config)
        better = [one.candidate.algorithm for one in sorted(self._tried, key=lambda one: one.score)]
        ranked = sorted(found, key=lambda candidate: better.index(candidate.algorithm))
        return tuple(ranked[: (len(ranked) + 1) // 2])

    def _left_s(self) -> float:
        """Return the time that is left, less what it takes to fit what would be chosen now."""
        works = [one.work_s for one in sorted(self._tried, key=lambda one: one.score)[:_MOST_MEMBERS]]
        fit_s = max(sum(works) / self._threads, *works, 0.0)
        return self._ends_at - self._clock() - self._growth * (self._features_s + fit_s)

    def _of_each(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return side_by_side(work, items, threads=self._threads)

    def _try(self, candidate: Candidate) -> bool:
        """Try a candidate, and return whether it could be fitted in the time that is left."""
        began = self._clock()
        try:
            tried = self._fitted(candidate)
        except (StorageError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (libraries raise of their own; the other candidates are left)
            self._note(candidate, began, note=str(error).partition("\n")[0] or type(error).__name__)
            return False
        if tried is None:
            self._note(candidate, began, note="does not fit into the time that is left")
            return False
        self._tried.append(tried)
        self._note(tried.candidate, began, score=tried.score)
        return True

    def _fitted(self, candidate: Candidate) -> _Tried | None:
        """Return what a candidate says of held-out rows; None where finding out takes too long."""
        limited = self._within_time(candidate) if self._left_s() > 0 else None
        if limited is None:
            return None
        known = self._with_best_iterations(limited)
        began = self._clock()
        said = np.concatenate(self._of_each(partial(self._said, known), self._folds))
        if not np.isfinite(said).all():
            raise ValueError("predictions that are no numbers")
        fit_s = (self._clock() - began) / self._turns
        return _Tried(candidate, known, said, self.score(said), work_s=fit_s * self._share)

    def _said(self, candidate: Candidate, fold: _Fold) -> Floats:
        estimator = self._estimator(candidate, fold).fit(fold.matrix, fold.y)
        return held_out_answer(estimator, fold.others, classes=self._classes, actual=fold.held)

    @property
    def _turns(self) -> int:
        """How often as many folds are fitted as there are threads for."""
        return math.ceil(self._count * self._share / self._threads)

    def _within_time(self, candidate: Candidate) -> Candidate | None:
        """Return a candidate with as many iterations as there is time for; None where those are too few."""
        estimator = self._estimator(candidate, self._folds[0])
        wanted = iterations(estimator)
        fits = 1 + self._turns + self._growth * self._share / self._threads
        if wanted is None or wanted <= _FEWEST_ITERATIONS:
            return candidate if self._left_s() > fits * self._about_s(candidate) else None
        probe = _limited(candidate, _PROBED_ITERATIONS, estimator)
        one_s = self._probed_s(probe) / _PROBED_ITERATIONS
        affordable = int(self._left_s() / (fits * one_s)) if one_s else wanted
        if affordable < _FEWEST_ITERATIONS:
            return None
        return _limited(candidate, min(wanted, affordable), estimator)

    def _probed_s(self, probe: Candidate) -> float:
        """Return how long a fit in a fold takes; about, where looking takes much of the time that is left."""
        if len(self._folds[0].y) > _FOLDED_ROWS:
            about_s = self._about_s(probe)
            if about_s > _PROBING_SHARE * self._left_s():
                return about_s
        began = self._clock()
        self._of_each(partial(self._said, probe), self._first_folds)
        return self._clock() - began

    def _about_s(self, candidate: Candidate) -> float:
        """Return about how long a fit in a fold takes, by fits on some of its rows; 0 where there are few."""
        parts = [_part(fold, self.metric) for fold in self._first_folds]
        if len(parts[0].y) == len(self._folds[0].y):
            return 0.0
        began = self._clock()
        self._of_each(partial(self._said, candidate), parts)
        return (self._clock() - began) * len(self._folds[0].y) / len(parts[0].y)

    def _with_best_iterations(self, candidate: Candidate) -> Candidate:
        """Return a candidate with the iterations after which the first folds' held-out rows are said best."""
        learner = inner(self._estimator(candidate, self._folds[0]))
        if not hasattr(learner, "best_iterations"):
            return candidate
        counts = self._of_each(partial(self._best_iterations, candidate), self._first_folds)
        return _limited(candidate, round(sum(counts) / len(counts)), learner)

    def _best_iterations(self, candidate: Candidate, fold: _Fold) -> int:
        estimator = self._estimator(candidate, fold)
        is_learned = np.isin(fold.held, fold.y) | (self.metric == "rmse")  # the others' class is not known
        known, watched = as_learned(estimator, fold.y, fold.held[is_learned])
        held_out = (fold.others[is_learned], watched)
        found = inner(estimator).best_iterations(
            fold.matrix, known, held_out=held_out, rounds=_PATIENCE_ROUNDS
        )
        return int(found)

    @property
    def _first_folds(self) -> list[_Fold]:
        """As many folds as are fitted at once."""
        return self._folds[: max(1, self._threads // self._share)]

    def _estimator(self, candidate: Candidate, fold: _Fold) -> Any:
        model = {
            "algorithm": candidate.algorithm,
            "hyperparameters": {candidate.algorithm: candidate.settings},
        }
        chosen = self.config.model.model_copy(update=model)
        estimator = build_estimator(self.config.model_copy(update={"model": chosen}), self._share)
        tell_categories(estimator, fold.categories)
        return estimator

    def _note(
        self, candidate: Candidate, began: float, *, score: float | None = None, note: str | None = None
    ) -> None:
        trial = Trial(
            number=len(self.trials) + 1,
            algorithm=candidate.algorithm,
            settings=candidate.settings,
            score=score,
            seconds=round(self._clock() - began, 2),
            note=note,
        )
        self.trials.append(trial)
        said = note if score is None else f"{self.metric} {format_number(score)}"
        _LOG.info(f"candidate {trial.number}: {candidate.algorithm}: {said} ({trial.seconds:.0f} s)")


def _pairs(config: Config, X: pd.DataFrame, y: Array) -> list[tuple[Array, Array]]:
    """Return the folds' row numbers, in time the latest ones first; of a large table only the first."""
    found = list(folds(config, X, y, count=_FOLDS, where=None))
    if config.split.method == "time":
        found.reverse()
    return found[:1] if len(y) > _FOLDED_ROWS else found


def _fold(config: Config, X: pd.DataFrame, *, y: Array, train: Array, held: Array) -> _Fold:
    features = FeatureEngineer(config).build()
    matrix = features.fit_transform(X.iloc[train], y[train])
    return _Fold(matrix, y[train], features.transform(X.iloc[held]), y[held], category_columns(features))


def _part(fold: _Fold, metric: str) -> _Fold:
    """Return a fold with some of its training rows, of each class at least one, and next to none held out."""
    count = max(_PROBED_ROWS, math.ceil(_PROBED_SHARE * len(fold.y)))
    rows = np.arange(0, len(fold.y), math.ceil(len(fold.y) / count))
    if metric == "log_loss":
        rows = np.union1d(rows, np.unique(fold.y, return_index=True)[1])
    return fold._replace(matrix=fold.matrix[rows], y=fold.y[rows], others=fold.others[:1], held=fold.held[:1])


def _limited(candidate: Candidate, count: int, estimator: Any) -> Candidate:
    """Return a candidate with another number of iterations."""
    settings = inner(estimator).get_params(deep=False)
    name = "n_estimators" if "n_estimators" in settings else "max_iter"
    update = {**candidate.settings, name: count}
    if "n_iter_no_change" in settings:  # nothing of its own that stops sooner
        update |= {"early_stopping": False, "n_iter_no_change": count}
    return candidate.model_copy(update={"settings": update})


def _hyperparameters(chosen: list[_Tried], weights: list[float]) -> dict[str, Any]:
    if len(chosen) == 1:
        return dict(chosen[0].candidate.settings)
    members = [{one.candidate.algorithm: one.candidate.settings} for one in chosen]
    return {"members": members, "weights": weights}


def _mixed(chosen: list[_Tried], weights: list[float]) -> Floats:
    mixed: Floats = np.column_stack([one.said for one in chosen]) @ np.asarray(weights)
    return mixed
