"""The report of a run: one HTML page that needs nothing but itself."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from modelbook.config import METRICS
from modelbook.evaluation import typography
from modelbook.evaluation.checklist import checklist, headlines
from modelbook.evaluation.gate import LOWER_IS_BETTER, held_out_metrics
from modelbook.evaluation.page import METRIC_LABELS, label_of, png_source, render_page
from modelbook.records import GateDecision, GateVerdict, RunMetadata, ValidationReport

_MAX_WORST = 10
_MAX_FEATURES = 20
_MAX_TRIALS = 20
_MAX_NAMED = 5
_NOTHING_ASKED = "The settings name no thresholds (evaluation.thresholds), so nothing was asked of the model."
_COUNTS = {"train_samples", "test_samples"}
_CAPTIONS = {
    "predicted_vs_actual": "Each test row by actual and predicted value. On the line a prediction is exact.",
    "residuals": "What is left after prediction. A pattern around the line is something the model missed.",
    "feature_importance": "How much each feature contributes to the model's predictions, the largest first.",
    "confusion_matrix": "Test rows by actual and predicted class; shade and percentage are shares of a row.",
    "roc_curve": "True against false positives over every cut-off. The dashed line is guessing.",
    "pr_curve": "Precision against recall over every cut-off. The dashed line is the share of positives.",
    "calibration": "How often a class occurs among rows given a probability. On the dashed line the "
    "probabilities can be taken at their word; ECE is the mean distance from it.",
}


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """What a report is made of.

    Attributes:
        metadata: The run.
        gate: The verdict on it.
        predictions: A row for each test row: `actual`, `predicted`, and for classification a column
            `probability_<class>` for each class.
        plots: The files that `draw_plots` gave, in the order of showing; PNGs and text.
        validation: What validation found; None where the data did not pass through it.
        worth: What `feature_worth` found; None where it was not asked.
        previous: The run before, to compare with.
        version: The registered version, as people name it; None where there is none.
    """

    metadata: RunMetadata
    gate: GateDecision
    predictions: pd.DataFrame
    plots: tuple[Path, ...] = ()
    validation: ValidationReport | None = None
    worth: pd.DataFrame | None = None
    previous: RunMetadata | None = None
    version: str | None = None


def render_report(content: ReportContent) -> str:
    """Return the report as one HTML page: styles and plots inside, no scripts, nothing fetched.

    Equal content gives equal text. Of the test rows it shows actual and predicted values and the row's
    number, never the other columns.

    Raises:
        OSError: A plot cannot be read.
    """
    run = content.metadata
    return render_page(
        "report.html.j2",
        run=run,
        gate=content.gate,
        version=content.version,
        previous=content.previous,
        sentence=_sentence(content.gate),
        headlines=headlines(content.gate.checks),
        checklist=checklist(content.gate.checks),
        level=next((check.level for check in content.gate.checks if check.level), None),
        has_slices=any(check.kind == "slice" for check in content.gate.checks),
        metrics=_metric_rows(run, content.previous),
        changes=_changes(run, content.previous),
        has_other_data=content.previous is not None and content.previous.lineage.data != run.lineage.data,
        figures=[_figure(path) for path in content.plots if path.suffix == ".png"],
        texts=[path.read_text(encoding="utf-8") for path in content.plots if path.suffix == ".txt"],
        worst=_worst(content),
        features=list(run.importances.items())[:_MAX_FEATURES],
        worth=[] if content.worth is None else content.worth[:_MAX_FEATURES].to_dict("records"),
        validation=content.validation,
        hyperparameters={
            key: value for key, value in run.params.items() if "." not in key and key not in _COUNTS
        },
        settings=_as_yaml(run.lineage.config),
        trials=_best_trials(run),
        searched_by=METRIC_LABELS[run.outcome.metric] if run.outcome else None,
        has_cross_validation=any(name.startswith("cv_") for name in run.metrics),
    )


def _best_trials(run: RunMetadata) -> list[dict[str, Any]]:
    """Return what the automatic choice tried, the best first and what could not be scored last."""
    trials = run.outcome.trials if run.outcome else ()
    ordered = sorted(trials, key=lambda trial: math.inf if trial.score is None else trial.score)
    return [
        {
            "label": f"{trial.number} {trial.algorithm}",
            "score": trial.score,
            "seconds": trial.seconds,
            "words": trial.note or ", ".join(f"{key} {value}" for key, value in trial.settings.items()),
        }
        for trial in ordered[:_MAX_TRIALS]
    ]


@dataclass(frozen=True)
class _MetricRow:
    """One metric as the report's table shows it; None is a dash."""

    label: str
    test: float
    train: float | None
    cv_mean: float | None
    cv_std: float | None
    previous: float | None
    change: float | None
    judgement: str


@dataclass(frozen=True)
class _Figure:
    """A plot as a data URI, with its words."""

    source: str
    title: str
    caption: str


def _metric_rows(run: RunMetadata, previous: RunMetadata | None) -> list[_MetricRow]:
    now, then = held_out_metrics(run.metrics), held_out_metrics(previous.metrics) if previous else {}
    known = [name for name in METRICS[run.model.task] if name in now]
    return [
        _metric_row(name, run.metrics, then.get(name)) for name in (*known, *sorted(now.keys() - {*known}))
    ]


def _metric_row(name: str, metrics: dict[str, float], then: float | None) -> _MetricRow:
    now = metrics[f"test_{name}"]
    change = None if then is None else now - then
    return _MetricRow(
        label=METRIC_LABELS.get(name, name),
        test=now,
        train=metrics.get(f"train_{name}"),
        cv_mean=metrics.get(f"cv_{name}_mean"),
        cv_std=metrics.get(f"cv_{name}_std"),
        previous=then,
        change=change,
        judgement=_judgement(name, change),
    )


def _judgement(name: str, change: float | None) -> str:
    if change is None or np.isnan(change) or not any(name in names for names in METRICS.values()):
        return ""
    if change == 0:
        return "same"
    return "better" if (change < 0) == (name in LOWER_IS_BETTER) else "worse"


def _sentence(gate: GateDecision) -> str:
    missed = gate.missed
    is_of_thresholds = all(check.kind == "threshold" for check in gate.checks)
    noun = "thresholds" if is_of_thresholds else "checks"
    if missed:
        names = "; ".join(label_of(check) for check in missed[:_MAX_NAMED])
        further = len(missed) - _MAX_NAMED
        names += f"; and {further:,} more" if further > 0 else ""
        return f"{len(missed)} of {len(gate.checks)} {noun} missed: {names}."
    if gate.verdict is GateVerdict.NONE:
        return _NOTHING_ASKED if not _is_asked(gate) else "Nothing that was asked could be judged."
    unjudged = sum(check.passed is None for check in gate.checks)
    kept = f"Every {noun.removesuffix('s')} is kept"
    return f"{kept}, but for {unjudged} that could not be judged." if unjudged else f"{kept}."


def _is_asked(gate: GateDecision) -> bool:
    return any(check.kind != "smoke_test" for check in gate.checks)


def _changes(run: RunMetadata, previous: RunMetadata | None) -> list[tuple[str, str, str]]:
    if previous is None:
        return []
    before = previous.params | {"commit": previous.lineage.code.commit or typography.ABSENT}
    after = run.params | {"commit": run.lineage.code.commit or typography.ABSENT}
    keys = sorted(before.keys() | after.keys())
    pairs = ((key, before.get(key, typography.ABSENT), after.get(key, typography.ABSENT)) for key in keys)
    return [(key, old, new) for key, old, new in pairs if old != new]


def _figure(path: Path) -> _Figure:
    title = path.stem.replace("_", " ").capitalize().replace("Roc", "ROC").replace("Pr ", "Precision-recall ")
    return _Figure(png_source(path.read_bytes()), title, _CAPTIONS.get(path.stem, ""))


def _worst(content: ReportContent) -> list[dict[str, Any]]:
    """Return the test rows that were missed the furthest, or the most confidently, by row number."""
    table = content.predictions.reset_index(drop=True)
    if content.metadata.model.task == "regression":
        table["error"] = table["actual"] - table["predicted"]
        order = table["error"].abs().sort_values(ascending=False, kind="stable", na_position="first").index
        return list(_numbered(table.loc[order[:_MAX_WORST], ["actual", "predicted", "error"]]))
    mistakes = table[table["actual"].astype(object) != table["predicted"].astype(object)]
    confidence = mistakes.filter(regex="^probability_").max(axis=1)
    order = confidence.sort_values(ascending=False, kind="stable").index
    shown = mistakes.loc[order[:_MAX_WORST], ["actual", "predicted"]]
    return list(_numbered(shown.assign(confidence=confidence[shown.index])))


def _numbered(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for position, row in zip(rows.index, rows.to_dict("records"), strict=True):
        yield {"row": int(position), **{str(name): value for name, value in row.items()}}


def _as_yaml(settings: dict[str, Any]) -> str:
    buffer = StringIO()
    YAML().dump(settings, buffer)
    return buffer.getvalue()
