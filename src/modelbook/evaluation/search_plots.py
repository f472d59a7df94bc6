"""What a search found, drawn: the score against each setting, all settings at once, and which matter."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from modelbook.config import spell
from modelbook.evaluation.canvas import (
    ACCENT,
    CONTRAST,
    INK,
    MUTED,
    SHADES,
    as_png,
    dress,
    new_figure,
    plain,
    scale_ticks,
)

MAX_SETTINGS = 12

_MANY = 7
_WIDE_RATIO = 20.0


class Tried(NamedTuple):
    """A completed trial: its settings by name, and its score."""

    settings: Mapping[str, Any]
    score: float


def draw_search(
    trials: Sequence[Tried],
    *,
    best: int,
    metric: str,
    is_lower_better: bool,
    importances: Mapping[str, float],
) -> dict[str, bytes]:
    """Return plots by their title, as PNG.

    Args:
        trials: The completed trials, all with the same settings; at least one.
        best: The place of the best among them.
        metric: What the score is.
        is_lower_better: Whether the smallest score is the best.
        importances: The share of each setting in the score, the largest first; empty draws none of it.

    Example:
        >>> trials = [Tried({"depth": 2}, 0.8), Tried({"depth": 4}, 0.9)]
        >>> list(draw_search(trials, best=1, metric="r2", is_lower_better=False, importances={}))
        ['depth']
    """
    names = [*importances, *(name for name in trials[0].settings if name not in importances)][:MAX_SETTINGS]
    figures = {plain(name): _against(trials, name, best=best, metric=metric) for name in names}
    if len(names) > 1 and len(trials) > 1:
        figures["All settings"] = _parallel(
            trials, names, best=best, metric=metric, is_lower_better=is_lower_better
        )
    if len(importances) > 1:
        figures["Importance"] = _importance(importances)
    return {title: as_png(figure) for title, figure in figures.items()}


class _Axis(NamedTuple):
    """The values of a setting as places on an axis, and what the axis says of them."""

    places: np.ndarray[Any, Any]
    labels: list[str]
    is_log: bool

    @property
    def is_numeric(self) -> bool:
        return not self.labels


def _axis(trials: Sequence[Tried], name: str) -> _Axis:
    values = [trial.settings[name] for trial in trials]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        places = np.array(values, dtype=np.float64)
        is_log = places.min() > 0 and places.max() / places.min() > _WIDE_RATIO
        return _Axis(places, [], is_log)
    labels = sorted({spell(value) for value in values})
    return _Axis(
        np.array([labels.index(spell(value)) for value in values], dtype=np.float64), labels, is_log=False
    )


def _against(trials: Sequence[Tried], name: str, *, best: int, metric: str) -> Figure:
    """Return a dot for each trial, the best filled in another colour."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    axis, scores = _axis(trials, name), np.array([trial.score for trial in trials])
    dress(axes, title=plain(name, 44), x=plain(name, 44), y=metric)
    axes.plot(axis.places, scores, "o", color=ACCENT, alpha=0.7, markersize=5.5, markeredgewidth=0)
    axes.plot(axis.places[best], scores[best], "o", color=CONTRAST, markersize=8.5, markeredgewidth=0)
    if axis.is_log:
        axes.set_xscale("log")
    _name_ticks(axes, axis)
    scale_ticks(axes.yaxis, float(np.abs(scores).max()))
    return figure


def _name_ticks(axes: Axes, axis: _Axis) -> None:
    if axis.is_numeric:
        return
    labels = [plain(label, 18) for label in axis.labels]
    is_crowded = len(labels) > 4  # noqa: PLR2004 (what stands side by side)
    axes.set_xticks(range(len(labels)), labels, rotation=30 if is_crowded else 0)
    axes.set_xlim(-0.5, len(labels) - 0.5)


def _parallel(
    trials: Sequence[Tried], names: Sequence[str], *, best: int, metric: str, is_lower_better: bool
) -> Figure:
    """Return a line for each trial across all settings, dark where it is good; the best stands out."""
    figure = new_figure(4.4)
    axes = figure.subplots()
    columns = [_scaled(_axis(trials, name)) for name in names]
    scores = np.array([trial.score for trial in trials])
    goodness = -scores if is_lower_better else scores
    shades = Normalize(goodness.min(), goodness.max() + 1e-12)
    axes.set_title("All settings", loc="left", fontsize=12, color=INK, fontweight="bold", pad=10)
    for place in np.argsort(goodness):
        line = [column[place] for column in columns]
        axes.plot(
            range(len(names)),
            line,
            color=SHADES(0.15 + 0.85 * shades(goodness[place])),
            linewidth=1.2,
            alpha=0.8,
        )
    axes.plot(range(len(names)), [column[best] for column in columns], color=CONTRAST, linewidth=2.2)
    _dress_parallel(axes, trials, names)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), SHADES), ax=axes, fraction=0.035, pad=0.02)
    bar.set_ticks([0, 1], labels=["worst", "best"])
    bar.set_label(metric, fontsize=9.5, color=MUTED)
    bar.outline.set_visible(False)
    return figure


def _scaled(axis: _Axis) -> np.ndarray[Any, Any]:
    """Return places between 0 and 1."""
    places = np.log(axis.places) if axis.is_log else axis.places
    span = places.max() - places.min()
    scaled: np.ndarray[Any, Any] = (places - places.min()) / span if span else np.full(len(places), 0.5)
    return scaled


def _dress_parallel(axes: Axes, trials: Sequence[Tried], names: Sequence[str]) -> None:
    labels = [plain(name, 16) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=35, ha="right", fontsize=9, color=MUTED)
    axes.set_yticks([])
    axes.set(xlim=(-0.3, len(names) - 0.7), ylim=(-0.13, 1.13))
    for spine in axes.spines.values():
        spine.set_visible(False)
    for place, name in enumerate(names):
        axes.vlines(place, 0, 1, color=MUTED, linewidth=0.8, zorder=0)
        lowest, highest = _ends(_axis(trials, name))
        axes.text(place, -0.05, lowest, ha="center", va="top", fontsize=8, color=MUTED)
        axes.text(place, 1.05, highest, ha="center", va="bottom", fontsize=8, color=MUTED)


def _ends(axis: _Axis) -> tuple[str, str]:
    if axis.is_numeric:
        return f"{axis.places.min():.3g}", f"{axis.places.max():.3g}"
    return plain(axis.labels[0], 10), plain(axis.labels[-1], 10)


def _importance(importances: Mapping[str, float]) -> Figure:
    shown = dict(list(importances.items())[:MAX_SETTINGS])
    figure = new_figure(max(2.2, 0.42 * len(shown) + 1.1))
    axes = figure.subplots()
    dress(axes, title="Importance", x="share in the score", grid="x")
    names = [plain(name) for name in reversed(shown)]
    axes.barh(names, list(reversed(shown.values())), color=ACCENT, height=0.62)
    axes.set_xlim(0, max(shown.values()) * 1.05)
    return figure
