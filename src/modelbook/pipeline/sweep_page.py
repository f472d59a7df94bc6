"""The report of a sweep: one HTML page that needs nothing but itself."""

from modelbook.evaluation.page import METRIC_LABELS, png_source, render_page
from modelbook.evaluation.search_plots import Tried, draw_search
from modelbook.logs import format_number
from modelbook.pipeline.sweep_records import ChosenBy, SweepOutcome, SweepRecord, SweepTrial
from modelbook.pipeline.trials import short_names

MOST_ROWS = 200

_ROWS: dict[ChosenBy, str] = {
    "cv": "cross-validation on training rows",
    "validation": "training rows that were held back",
    "test": "the test rows",
}


def render_sweep(outcome: SweepOutcome, sweep: SweepRecord) -> str:
    """Return the report as one HTML page: styles and plots inside, no scripts, nothing fetched."""
    names = short_names({key: None for trial in outcome.trials for key in trial.settings})
    complete = [trial for trial in outcome.trials if trial.state == "complete"]
    tried = [
        Tried({names[key]: value for key, value in trial.settings.items()}, trial.score or 0.0)
        for trial in complete
    ]
    figures = draw_search(
        tried,
        best=[trial.number for trial in complete].index(outcome.best),
        metric=outcome.metric,
        is_lower_better=outcome.is_lower_better,
        importances={names[key]: share for key, share in outcome.importances.items()},
    )
    return render_page(
        "sweep.html.j2",
        outcome=outcome,
        sweep=sweep,
        best=outcome.best_trial,
        label=METRIC_LABELS.get(sweep.metric, sweep.metric),
        rows=_ROWS[outcome.chosen_by],
        names=names,
        trials=in_order(outcome)[:MOST_ROWS],
        further=max(0, len(outcome.trials) - MOST_ROWS),
        sure=say_difference(outcome),
        figures=[{"title": title, "source": png_source(content)} for title, content in figures.items()],
    )


def say_difference(outcome: SweepOutcome) -> str:
    """Return in a sentence whether the best is better than the runner-up beyond chance."""
    if outcome.runner_up is None:
        return "No other trial was completed."
    found = outcome.difference
    if found is None or found.lower is None or found.upper is None:
        return f"It cannot be held against trial {outcome.runner_up}, the next: they have other test rows."
    interval = f"95 % interval {format_number(found.lower)} to {format_number(found.upper)}"
    by = f"{found.metric} differs by {format_number(found.difference)} ({interval})"
    judged = {
        "worse": "the difference is larger than its noise",
        "better": "there that one does better, beyond its noise",
        "the same": "both predict the same",
        "not sure": "the difference is no larger than its noise",
    }
    return (
        f"Held against trial {outcome.runner_up}, the next, on the test rows {by}: {judged[found.judgement]}."
    )


def in_order(outcome: SweepOutcome) -> list[SweepTrial]:
    """Return the trials, the best first; behind the completed those that were given up, then the failed."""

    def rank(trial: SweepTrial) -> tuple[int, float, int]:
        score = trial.score or 0.0
        sign = 1 if outcome.is_lower_better else -1
        return ("complete", "pruned", "failed").index(trial.state), sign * score, trial.number

    return sorted(outcome.trials, key=rank)
