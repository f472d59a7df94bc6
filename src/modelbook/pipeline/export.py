"""Runs written to a file that others read: CSV, JSON, or one HTML page that needs nothing but itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pandas as pd

from modelbook.errors import UsageError
from modelbook.evaluation.difference import LEVEL, RESAMPLES, Difference
from modelbook.evaluation.overlay import draw_overlays
from modelbook.evaluation.page import METRIC_LABELS, png_source, render_page
from modelbook.files import write_whole
from modelbook.logs import format_number
from modelbook.pipeline.compare import ComparedRun, Comparison, RunComparison, positive_class
from modelbook.records import Record
from modelbook.tracking.summary import RunSummary

_FORMS = (".csv", ".json", ".html")
_COMPARISON_FORMS = (*_FORMS, ".md")


def check_form(path: Path, *, is_comparison: bool = False) -> str:
    """Return the end of a file's name if it says how to write it.

    Args:
        path: The file.
        is_comparison: Whether it is to hold a comparison, which is written as `.md` too.

    Raises:
        UsageError: It is none of `.csv`, `.json` and `.html`.

    Example:
        >>> check_form(Path("runs.CSV"))
        '.csv'
    """
    form, known = path.suffix.lower(), _COMPARISON_FORMS if is_comparison else _FORMS
    if form in known:
        return form
    raise UsageError(
        "the end of the file's name says no form",
        where=str(path),
        got=form or "none",
        expected=", ".join(known),
    )


def export_comparison(comparison: Comparison, path: Path) -> None:
    """Write a comparison, whole or not at all; what it is written as is the end of the file's name.

    Raises:
        UsageError: The name ends in none of `.csv`, `.json`, `.html` and `.md`.
        StorageError: The folder cannot be written or the disk is full.
    """
    match check_form(path, is_comparison=True):
        case ".csv":
            content = _csv(comparison.record.to_frame())
        case ".json":
            content = comparison.record.model_dump_json(indent=2)
        case ".md":
            content = comparison_text(comparison.record)
        case _:
            content = comparison_page(comparison)
    write_whole(path, content.encode())


def export_runs(runs: Sequence[RunSummary], path: Path) -> None:
    """Write a list of runs, a row each, whole or not at all; its form is the end of the file's name.

    Raises:
        UsageError: The name ends in none of `.csv`, `.json` and `.html`.
        StorageError: The folder cannot be written or the disk is full.
    """
    form = check_form(path)
    table = runs_table(runs)
    if form == ".csv":
        content = _csv(table)
    elif form == ".json":
        content = _json(runs)
    else:
        content = render_page("runs.html.j2", columns=list(table.columns), rows=table.to_dict("records"))
    write_whole(path, content.encode())


def runs_table(runs: Sequence[RunSummary]) -> pd.DataFrame:
    """Return a row for each run, with `params.<name>` and `metrics.<name>` as columns.

    Example:
        >>> runs_table([]).empty
        True
    """
    rows = [
        run.model_dump(exclude={"params", "metrics"})
        | {f"metrics.{name}": value for name, value in run.metrics.items()}
        | {f"params.{name}": value for name, value in run.params.items()}
        for run in runs
    ]
    return pd.DataFrame(rows)


def comparison_page(comparison: Comparison) -> str:
    """Return a comparison as one HTML page: styles and plots inside, no scripts, nothing fetched."""
    record, baseline = comparison.record, comparison.baseline
    figures = draw_overlays(
        comparison.predictions,
        task=baseline.model.task,
        classes=baseline.model.classes,
        positive_class=positive_class(baseline),
    )
    return render_page(
        "comparison.html.j2",
        experiment=baseline.experiment,
        runs=record.runs,
        rows=[row for run in record.runs for row in _rows(run)],
        parts=record.parts,
        figures=[{"title": name, "source": png_source(content)} for name, content in figures.items()],
        level=LEVEL,
        resamples=next((found.resamples for run in record.runs for found in run.differences), RESAMPLES),
    )


def comparison_text(record: RunComparison) -> str:
    """Return a comparison as Markdown, to be read in a comment."""
    lines = [
        "| run | metric | value | difference | 95 % interval | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for run in record.runs:
        lines += [_table_line(run, row) for row in _rows(run)]
    lines += [
        f"\n{run.run_name} is not comparable: {run.incomparable}" for run in record.runs if run.incomparable
    ]
    lines += [""]
    for part, contrasts in record.parts.items():
        said = [f"`{one.name}`: {' → '.join(map(_shown, one.values))}" for one in contrasts]
        lines.append(f"- {part}: {'; '.join(said) or 'the same'}")
    alone = "" if len(record.runs) > 1 else "\nThere is nothing to hold it against yet.\n"
    return f"### Modelbook\n{alone}\n" + "\n".join(lines) + "\n"


def _shown(value: str | None) -> str:
    return value or "-"


def _table_line(run: ComparedRun, row: "_Row") -> str:
    numbers = (row.value, row.difference, row.lower, row.upper)
    value, difference, lower, upper = ("" if one is None else format_number(one) for one in numbers)
    interval = f"{lower} to {upper}" if lower else ""
    cells = (f"`{run.run_id[:8]}` {row.run}", row.label, value, difference, interval, row.judgement)
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class _Row:
    """A metric of a run as the page shows it."""

    run: str
    label: str
    value: float
    difference: float | None
    lower: float | None
    upper: float | None
    judgement: str


def _rows(run: ComparedRun) -> Iterator[_Row]:
    found: dict[str, Difference] = {difference.metric: difference for difference in run.differences}
    for name, value in run.metrics.items():
        held = found.get(name)
        yield _Row(
            run=run.run_name,
            label=METRIC_LABELS.get(name, name),
            value=value,
            difference=held.difference if held else None,
            lower=held.lower if held else None,
            upper=held.upper if held else None,
            judgement=held.judgement if held else "",
        )


def _csv(table: pd.DataFrame) -> str:
    buffer = StringIO()
    table.to_csv(buffer, lineterminator="\n", index=table.index.name is not None)
    return buffer.getvalue()


def _json(runs: Sequence[Record]) -> str:
    return "[" + ",\n".join(run.model_dump_json(indent=2) for run in runs) + "]\n"
