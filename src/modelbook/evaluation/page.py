"""The pages that people read: one look, everything inside, no scripts, nothing fetched."""

import base64
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from modelbook.evaluation import typography
from modelbook.records import GateCheck

METRIC_LABELS = {
    "rmse": "RMSE",
    "mae": "MAE",
    "r2_score": "R²",
    "mape": "MAPE, %",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "log_loss": "Log loss",
}


def render_page(name: str, **content: Any) -> str:
    """Return a page made from a template of this folder.

    Args:
        name: The template's file name.
        content: What it shows.
    """
    return _templates().get_template(name).render(**content)


def png_source(content: bytes) -> str:
    """Return a picture as the address that an `img` takes.

    Example:
        >>> png_source(b"...")
        'data:image/png;base64,Li4u'
    """
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def check_label(check: GateCheck) -> str:
    """Return the name of the metric that a check is about, as people know it."""
    return METRIC_LABELS.get(check.metric, check.metric).removesuffix(", %")


def label_of(check: GateCheck) -> str:
    """Return what a check looks at, in words.

    Example:
        >>> check = GateCheck(
        ...     name="x", kind="slice", metric="rmse", value=1, min=None, max=2, passed=True, group="area: n"
        ... )
        >>> label_of(check)
        'RMSE, area: n'
    """
    if check.kind == "smoke_test":
        return "Smoke test"
    label = "Rows" if check.metric == "rows" else check_label(check)
    return f"{label}, {check.group}" if check.group else label


def _limits(check: GateCheck) -> str:
    parts = [
        f"{words} {typography.number(limit)}"
        for words, limit in (("at least", check.min), ("at most", check.max))
        if limit is not None
    ]
    return " and ".join(parts)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": typography.number,
        "signed": typography.signed,
        "spread": typography.spread,
        "duration": typography.duration,
        "moment": typography.moment,
        "size": typography.size,
        "label_of": label_of,
        "limits": _limits,
        "cell": typography.cell,
    }
    environment.globals["share"] = typography.share
    return environment


def _source(name: str) -> str:
    return (resources.files("modelbook.evaluation") / name).read_text(encoding="utf-8")
