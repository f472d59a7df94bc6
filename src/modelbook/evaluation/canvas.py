"""The look of the plots: restrained, readable on a phone, and the same bytes for the same numbers.

Figures are drawn through matplotlib's objects, never through pyplot, which keeps global state and takes
longer to import than all plots take to draw.
"""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, MaxNLocator

from modelbook.files import write_whole

INK = "#22292f"
MUTED = "#6a7580"
GRID = "#e6e8ea"
ACCENT = "#1f5f8b"
CONTRAST = "#c46a1b"
CLASS_COLOURS = (
    ACCENT,
    CONTRAST,
    "#3b8263",
    "#a63d57",
    "#6b5aa1",
    "#8f7d22",
    "#2b98ad",
    "#7b5643",
    "#d0659a",
    "#59636d",
)
SHADES = LinearSegmentedColormap.from_list("shades", ["#eff3f6", "#8fb3cc", ACCENT, "#0c2c44"])

_WIDTH_IN = 5.2
_DOTS_PER_INCH = 180
_PADDING_IN = 0.1
_TICK_PT = 9.5
_LABEL_PT = 10.5
_TITLE_PT = 12
_ENGINEERING_FROM = 10_000


def new_figure(height_in: float = 4.0) -> Figure:
    """Return an empty figure of the plots' common width."""
    layout = ConstrainedLayoutEngine(w_pad=_PADDING_IN, h_pad=_PADDING_IN)
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DOTS_PER_INCH, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Any, *, title: str = "", x: str = "", y: str = "", grid: str = "both") -> None:
    """Give axes their labels, a light grid behind the data, and no more lines than needed."""
    axes.set_title(title, loc="left", fontsize=_TITLE_PT, color=INK, fontweight="bold", pad=10)
    axes.set_xlabel(x, fontsize=_LABEL_PT, color=INK)
    axes.set_ylabel(y, fontsize=_LABEL_PT, color=INK)
    axes.tick_params(labelsize=_TICK_PT, color=GRID, labelcolor=MUTED, length=0, pad=5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c3c9ce")
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(axis=grid, color=GRID, linewidth=0.8)


def scale_ticks(axis: Any, largest: float, *, count: int = 5) -> None:
    """Label an axis with few ticks, thousands as k and millions as M."""
    axis.set_major_locator(MaxNLocator(count))
    if largest >= _ENGINEERING_FROM:
        axis.set_major_formatter(EngFormatter(sep=""))


def explain(axes: Any, *, place: str = "best") -> None:
    """Draw the legend of what was labelled, without a frame."""
    legend = axes.legend(loc=place, fontsize=8.5, frameon=True, framealpha=0.85, edgecolor="none")
    for text in legend.get_texts():
        text.set(parse_math=False, color=INK)


def plain(text: object, max_length: int = 26) -> str:
    r"""Return a name as one printable line of bounded length.

    Example:
        >>> plain("a\nb"), plain("x" * 30, 5)
        ('a b', 'xxxx…')
    """
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in str(text)).split())
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all, and return its path.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    write_whole(path, as_png(figure))
    return path


def as_png(figure: Figure) -> bytes:
    """Return a figure as PNG. Equal figures give equal bytes: nothing of time or software is in them."""
    content = BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the plots' font lacks is drawn as boxes; the report spells it out.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()
