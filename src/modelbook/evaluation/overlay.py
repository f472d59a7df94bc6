"""What several models did on the same test rows, drawn over each other."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from modelbook.config import Task
from modelbook.evaluation.canvas import CLASS_COLOURS, as_png, dress, explain, new_figure, plain, scale_ticks
from modelbook.evaluation.curves import Scored, pooled, scored_classes
from modelbook.evaluation.metrics import Floats, Label, class_codes, known_classes, positive_position
from modelbook.evaluation.plots import calibration_figure, evenly, precision_recall_figure, roc_figure

MAX_MODELS = len(CLASS_COLOURS)

_MAX_POINTS = 2_000
_SHOWN_SHARE = 0.99


def draw_overlays(
    predictions: Mapping[str, pd.DataFrame],
    *,
    task: Task,
    classes: Sequence[Label] = (),
    positive_class: Label | None = None,
) -> dict[str, bytes]:
    """Return plots by their name, as PNG, with a line for each model; at most ten models are drawn.

    Regression gives `errors` and `residuals`; classification, where every model has probabilities, gives
    `roc_curve`, `pr_curve` and `calibration`, of the positive class or, of more than two, of all decisions.

    Args:
        predictions: By the model's name, its `actual`, `predicted` and `probability_<class>`, of the same
            rows in the same order.
        task: What the models predict.
        classes: The classes in the order of the probability columns; empty for regression.
        positive_class: The class that the curves of two classes are about; None takes the last, sorted.

    Example:
        >>> table = pd.DataFrame({"actual": [1.0, 2.0], "predicted": [1.5, 2.0]})
        >>> sorted(draw_overlays({"a": table, "b": table + 1}, task="regression"))
        ['errors', 'residuals']
    """
    shown = dict(list(predictions.items())[:MAX_MODELS])
    if task == "regression":
        figures = _regression(shown)
    else:
        sides = [
            side
            for name, table in shown.items()
            for side in _side(name, table, classes=tuple(classes), positive_class=positive_class)
        ]
        figures = _classification(sides) if len(sides) == len(shown) else {}
    return {name: as_png(figure) for name, figure in figures.items()}


def _regression(predictions: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    residuals = {
        name: (table["actual"] - table["predicted"]).to_numpy(np.float64)
        for name, table in predictions.items()
    }
    finite = {name: values[np.isfinite(values)] for name, values in residuals.items()}
    known = {name: values for name, values in finite.items() if len(values)}
    return {"errors": _errors(known), "residuals": _residuals(known)} if known else {}


def _errors(residuals: Mapping[str, Floats]) -> Figure:
    """Return the share of rows that are missed by no more than each error."""
    figure = new_figure()
    axes = figure.subplots()
    dress(axes, title="Rows within an error", x="absolute error", y="share of test rows")
    errors = {name: np.sort(np.abs(values)) for name, values in residuals.items()}
    for (name, values), colour in zip(errors.items(), CLASS_COLOURS, strict=False):
        places = evenly(len(values), _MAX_POINTS)
        axes.plot(values[places], (places + 1) / len(values), color=colour, linewidth=1.7, label=plain(name))
    largest = max(float(np.quantile(values, _SHOWN_SHARE)) for values in errors.values()) or 1.0
    axes.set(xlim=(0, largest), ylim=(0, 1.02))
    scale_ticks(axes.xaxis, largest)
    explain(axes, place="lower right")
    return figure


def _residuals(residuals: Mapping[str, Floats]) -> Figure:
    figure = new_figure()
    axes = figure.subplots()
    dress(axes, title="Residuals", x="actual minus predicted", y="rows")
    reach = max(float(np.quantile(np.abs(values), _SHOWN_SHARE)) for values in residuals.values()) or 1.0
    for (name, values), colour in zip(residuals.items(), CLASS_COLOURS, strict=False):
        counts, edges = np.histogram(values, bins=60, range=(-reach, reach))
        axes.stairs(counts, edges, linewidth=1.7, color=colour, label=plain(name))
    axes.set(xlim=(-reach, reach))
    scale_ticks(axes.xaxis, reach)
    scale_ticks(axes.yaxis, max(len(values) for values in residuals.values()))
    explain(axes, place="upper right")
    return figure


def _classification(sides: Sequence[Scored]) -> dict[str, Figure]:
    return {
        "roc_curve": roc_figure(sides),
        "pr_curve": precision_recall_figure(sides),
        "calibration": calibration_figure(sides),
    }


def _side(
    name: str, table: pd.DataFrame, *, classes: tuple[Label, ...], positive_class: Label | None
) -> list[Scored]:
    """Return a model's decisions as one curve, or none where it gives no probabilities."""
    scores = table.filter(regex="^probability_").to_numpy(dtype=np.float64)
    if scores.shape[1] != len(classes) or not np.isfinite(scores).all():
        return []
    labels = known_classes(table["actual"], classes=classes)
    actual = class_codes(table["actual"], labels)
    positive = positive_position(classes, positive_class)
    found = scored_classes(actual, scores, [plain(name)] * len(labels), positive=positive)
    if not found:
        return []
    one = found[0] if positive is not None else pooled(found)
    return [Scored(plain(name), one.is_class, one.scores)]
