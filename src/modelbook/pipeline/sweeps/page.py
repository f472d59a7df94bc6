"""The report of a sweep: one HTML page that needs nothing but itself."""

from collections.abc import Mapping

from modelbook.evaluation.page import METRIC_LABELS, png_source, render_page
from modelbook.evaluation.search_plots import Tried, draw_search
from modelbook.pipeline.sweeps.records import ChosenBy, SweepOutcome, SweepRecord
from modelbook.pipeline.sweeps.space import short_names

MOST_ROWS = 200

_ROWS: dict[ChosenBy, str] = {
    "cv": "cross-validation on training rows",
    "validation": "training rows that were held back",
    "test": "the test rows",
}


def draw_figures(outcome: SweepOutcome) -> dict[str, bytes]:
    """Return the plots of a sweep by their title, as PNG."""
    names = _names(outcome)
    complete = [trial for trial in outcome.trials if trial.state == "complete"]
    tried = [
        Tried({names[key]: value for key, value in trial.settings.items()}, trial.score or 0.0)
        for trial in complete
    ]
    return draw_search(
        tried,
        best=[trial.number for trial in complete].index(outcome.best),
        metric=outcome.metric,
        is_lower_better=outcome.is_lower_better,
        importances={names[key]: share for key, share in outcome.importances.items()},
    )


def render_sweep(outcome: SweepOutcome, sweep: SweepRecord, figures: Mapping[str, bytes]) -> str:
    """Return the report as one HTML page: styles and plots inside, no scripts, nothing fetched.

    Args:
        outcome: What the sweep came to.
        sweep: The sweep as it was begun.
        figures: Its plots by their title, as PNG.
    """
    return render_page(
        "sweep.html.j2",
        outcome=outcome,
        sweep=sweep,
        best=outcome.best_trial,
        label=METRIC_LABELS.get(sweep.metric, sweep.metric),
        rows=_ROWS[outcome.chosen_by],
        names=_names(outcome),
        trials=outcome.in_order[:MOST_ROWS],
        further=max(0, len(outcome.trials) - MOST_ROWS),
        sure=outcome.sentence,
        figures=[{"title": title, "source": png_source(content)} for title, content in figures.items()],
    )


def _names(outcome: SweepOutcome) -> dict[str, str]:
    return short_names({key: None for trial in outcome.trials for key in trial.settings})
