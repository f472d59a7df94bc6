"""Draws what a model did on its test rows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import classification_report

from modelbook.config import Task
from modelbook.evaluation.canvas import (
    ACCENT,
    CLASS_COLOURS,
    CONTRAST,
    INK,
    MUTED,
    SHADES,
    dress,
    explain,
    new_figure,
    plain,
    scale_ticks,
    write_figure,
)
from modelbook.evaluation.curves import (
    MAX_CLASS_CURVES,
    Curve,
    Scored,
    calibration,
    pooled,
    precision_over_recall,
    roc,
    scored_classes,
    summed_up,
)
from modelbook.evaluation.metrics import (
    Codes,
    Floats,
    Label,
    class_codes,
    known_classes,
    positive_position,
)
from modelbook.files import write_whole

_MAX_BARS = 20
_MAX_DOTS = 3_000
_MAX_ROWS = 200_000
_MAX_SCORES = 1_000_000
_MAX_POINT_ROWS = 1_000
_MAX_LABEL_ROWS = 10_000
_MAX_CELL_TEXTS = 12
_MAX_CLASS_TICKS = 24
_TURN_LABELS_FROM = 6
_DARK_FROM = 0.5


def draw_plots(
    predictions: pd.DataFrame,
    importances: Mapping[str, float],
    *,
    task: Task,
    classes: Sequence[Label] = (),
    positive_class: Label | None = None,
    folder: Path,
) -> tuple[Path, ...]:
    """Draw every plot that the predictions allow and return the files, in the order of a report.

    Regression gives residuals.png and predicted_vs_actual.png, classification confusion_matrix.png,
    classification_report.txt and, where there are probabilities, roc_curve.png, pr_curve.png and
    calibration.png; both give feature_importance.png. Equal input gives equal bytes. Large tables are drawn
    from evenly spaced rows.

    For `dvc plots` the folder also gets predicted_vs_actual.csv (regression, at most 1,000 evenly spaced
    rows) or confusion.csv (classification, at most 10,000), and feature_importance.csv; they are not
    returned.

    Args:
        predictions: A row for each test row: `actual`, `predicted`, and for classification a column
            `probability_<class>` for each class, in [0, 1].
        importances: The features by importance, the largest first.
        task: `regression` or `classification`.
        classes: The classes in the order of the probability columns.
        positive_class: The class that the curves of two classes are about; None takes the last, sorted.
        folder: Where the files go; it is made where it is absent.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
        UsageError: An actual or predicted label is missing.
        ConfigError: The positive class is none of the two classes.

    Example:
        >>> import tempfile
        >>> table = pd.DataFrame({"actual": [1.0, 2.0], "predicted": [1.1, 1.8]})
        >>> paths = draw_plots(table, {"rooms": 1.0}, task="regression", folder=Path(tempfile.mkdtemp()))
        >>> [path.name for path in paths]
        ['predicted_vs_actual.png', 'residuals.png', 'feature_importance.png']
    """
    bars = pd.DataFrame({"feature": list(importances), "importance": list(importances.values())})
    _write_csv(bars, folder / "feature_importance.csv")
    if task == "regression":
        paths = _draw_regression(predictions, folder)
    else:
        paths = _draw_classification(
            predictions, tuple(classes), positive_class=positive_class, folder=folder
        )
    if importances:
        paths.append(write_figure(_importance(bars), folder / "feature_importance.png"))
    return tuple(paths)


def _draw_regression(predictions: pd.DataFrame, folder: Path) -> list[Path]:
    pairs = predictions[["actual", "predicted"]].astype(np.float64)
    _write_csv(pairs.iloc[evenly(len(pairs), _MAX_POINT_ROWS)], folder / "predicted_vs_actual.csv")
    pairs = pairs.loc[np.isfinite(pairs.to_numpy()).all(axis=1)]
    if pairs.empty:
        return []
    shown = pairs.iloc[evenly(len(pairs), _MAX_ROWS)]
    actual, predicted = shown["actual"].to_numpy(), shown["predicted"].to_numpy()
    return [
        write_figure(_predicted_vs_actual(actual, predicted), folder / "predicted_vs_actual.png"),
        write_figure(_residuals(actual, predicted), folder / "residuals.png"),
    ]


def _draw_classification(
    predictions: pd.DataFrame, classes: tuple[Label, ...], *, positive_class: Label | None, folder: Path
) -> list[Path]:
    pairs = predictions[["actual", "predicted"]]
    _write_csv(pairs.iloc[evenly(len(pairs), _MAX_LABEL_ROWS)], folder / "confusion.csv")
    labels = known_classes(pairs["actual"], pairs["predicted"], classes=classes)
    names = [plain(label) for label in labels]
    actual, predicted = class_codes(pairs["actual"], labels), class_codes(pairs["predicted"], labels)
    text = classification_report(
        actual, predicted, labels=range(len(labels)), target_names=names, zero_division=0.0, digits=4
    )
    write_whole(folder / "classification_report.txt", text.encode())
    paths = [write_figure(_confusion(actual, predicted, names), folder / "confusion_matrix.png")]
    scores = predictions.filter(regex="^probability_").to_numpy(dtype=np.float64)
    if scores.shape[1] == len(classes) > 0 and np.isfinite(scores).all():
        rows = evenly(len(actual), _MAX_SCORES // len(classes))
        positive = positive_position(classes, positive_class)
        paths += _draw_curves(scored_classes(actual[rows], scores[rows], names, positive=positive), folder)
    return [*paths, folder / "classification_report.txt"]


def _draw_curves(sides: Sequence[Scored], folder: Path) -> list[Path]:
    if not sides:
        return []
    figures: dict[str, Callable[[Sequence[Scored]], Figure]] = {
        "roc_curve.png": roc_figure,
        "pr_curve.png": precision_recall_figure,
        "calibration.png": calibration_figure,
    }
    return [write_figure(draw(sides), folder / name) for name, draw in figures.items()]


def _predicted_vs_actual(actual: Floats, predicted: Floats) -> Figure:
    figure = new_figure(4.6)
    axes = figure.subplots()
    low, high = _span(np.concatenate([actual, predicted]))
    dress(axes, title="Predicted against actual", x="actual", y="predicted")
    _cloud(axes, actual, predicted)
    axes.axline((low, low), (high, high), color=CONTRAST, linewidth=1.4)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        scale_ticks(axis, max(abs(low), abs(high)))
    return figure


def _residuals(actual: Floats, predicted: Floats) -> Figure:
    residuals = actual - predicted
    figure = new_figure()
    cloud, side = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    dress(cloud, title="Residuals", x="predicted", y="actual minus predicted")
    _cloud(cloud, predicted, residuals)
    cloud.axhline(0, color=CONTRAST, linewidth=1.4)
    cloud.set(xlim=_span(predicted), ylim=_span(residuals))
    scale_ticks(cloud.xaxis, np.abs(predicted).max())
    scale_ticks(cloud.yaxis, np.abs(residuals).max())
    dress(side, x="rows", grid="y")
    side.hist(residuals, bins=40, range=_span(residuals), orientation="horizontal", color=ACCENT)
    side.axhline(0, color=CONTRAST, linewidth=1.4)
    side.tick_params(labelbottom=False)
    return figure


def _cloud(axes: Any, x: Floats, y: Floats) -> None:
    """Draw points one by one while they can be told apart, and their density beyond."""
    if len(x) <= _MAX_DOTS:
        axes.scatter(x, y, s=13, color=ACCENT, alpha=0.45, linewidths=0)
        return
    extent = (*_span(x), *_span(y))
    axes.hexbin(x, y, gridsize=48, bins="log", cmap=SHADES, mincnt=1, extent=extent, linewidths=0.1)


def _importance(bars: pd.DataFrame) -> Figure:
    shown = bars.head(_MAX_BARS)
    names, values = [plain(name) for name in shown["feature"]], shown["importance"].to_numpy(np.float64)
    figure = new_figure(max(1.9, 1.15 + 0.27 * len(shown)))
    axes = figure.subplots()
    left_out = len(bars) - len(shown)
    title = f"Feature importance, {_MAX_BARS} largest of {len(bars)}" if left_out else "Feature importance"
    dress(axes, title=title, grid="x")
    places = np.arange(len(shown))
    axes.barh(places, values, height=0.62, color=ACCENT)
    axes.set_yticks(places, labels=names, parse_math=False, color=INK)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    scale_ticks(axes.xaxis, np.abs(values).max())
    return figure


def _confusion(actual: Codes, predicted: Codes, names: Sequence[str]) -> Figure:
    n_classes = len(names)
    flat = np.bincount(actual * n_classes + predicted, minlength=n_classes**2)
    counts = flat.reshape(n_classes, n_classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(4.6)
    axes = figure.subplots()
    dress(axes, title="Confusion matrix", x="predicted", y="actual", grid="none")
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="equal")
    axes.spines[:].set_visible(False)
    if n_classes <= _MAX_CLASS_TICKS:
        turn = 90 if n_classes > _TURN_LABELS_FROM else 0
        ticks = [plain(name, 12) for name in names]
        axes.set_xticks(range(n_classes), labels=ticks, rotation=turn, parse_math=False)
        axes.set_yticks(range(n_classes), labels=ticks, parse_math=False)
    else:
        axes.tick_params(labelbottom=False, labelleft=False)
    if n_classes <= _MAX_CELL_TEXTS:
        _write_cells(axes, counts, shares)
    return figure


def _write_cells(axes: Any, counts: Codes, shares: Floats) -> None:
    size = float(np.clip(30 / len(counts), 6.5, 13))
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        text = f"{count:,}\n{share:.0%}" if count and len(counts) <= _TURN_LABELS_FROM else f"{count}"
        colour = "white" if share > _DARK_FROM else INK if count else MUTED
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def roc_figure(sides: Sequence[Scored]) -> Figure:
    """Return the ROC curves of several classes, or of several models, in one figure."""
    figure = new_figure()
    axes = figure.subplots()
    dress(axes, title="ROC curve", x="false positive rate", y="true positive rate")
    axes.axline((0, 0), (1, 1), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    _lines(axes, summed_up(sides, roc), measure="AUC")
    explain(axes, place="lower right")
    return figure


def precision_recall_figure(sides: Sequence[Scored]) -> Figure:
    """Return the curves of precision over recall of several classes, or of several models, in one figure."""
    figure = new_figure()
    axes = figure.subplots()
    dress(axes, title="Precision over recall", x="recall", y="precision")
    if len(sides) == 1:
        axes.axhline(sides[0].is_class.mean(), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    _lines(axes, summed_up(sides, precision_over_recall), measure="AP")
    explain(axes, place="lower left")
    return figure


def calibration_figure(sides: Sequence[Scored]) -> Figure:
    """Return the calibration of several classes, or of several models, in one figure."""
    shown = sides if len(sides) <= MAX_CLASS_CURVES else [pooled(sides)]
    figure = new_figure(4.6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    dress(axes, title="Calibration", y="observed frequency")
    axes.axline((0, 0), (1, 1), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    _lines(axes, [calibration(side) for side in shown], measure="ECE", marker="o")
    explain(axes, place="upper left")
    dress(below, x="predicted probability", y="rows", grid="y")
    below.hist([side.scores for side in shown], bins=20, range=(0, 1), color=CLASS_COLOURS[: len(shown)])
    scale_ticks(below.yaxis, len(shown[0].scores), count=2)
    return figure


def _lines(axes: Any, curves: Sequence[Curve], *, measure: str, marker: str | None = None) -> None:
    for curve, colour in zip(curves, CLASS_COLOURS, strict=False):
        label = f"{measure} {curve.area:.3f}   {curve.name}"
        axes.plot(curve.x, curve.y, color=colour, linewidth=1.7, label=label, marker=marker, markersize=4.5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))


def evenly(n_rows: int, limit: int) -> Codes:
    """Return the positions of at most `limit` evenly spaced rows.

    Example:
        >>> evenly(5, 3).tolist(), evenly(2, 3).tolist()
        ([0, 2, 4], [0, 1])
    """
    if n_rows <= limit:
        return np.arange(n_rows)
    return np.linspace(0, n_rows - 1, limit).astype(np.int64)


def _span(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return low - margin, high + margin


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    write_whole(path, table.to_csv(index=False, lineterminator="\n").encode())
