"""The report in a real browser, as people open it on a desk and on a phone."""

import html
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from modelbook.config import load_config
from modelbook.evaluation.difference import Difference
from modelbook.evaluation.gate import judge
from modelbook.evaluation.plots import draw_plots
from modelbook.evaluation.report import ReportContent, render_report
from modelbook.pipeline.sweeps.page import draw_figures, render_sweep
from modelbook.pipeline.sweeps.records import SweepOutcome, SweepRecord, SweepTrial
from modelbook.records import RunMetadata, ValidationReport

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

LONG = "a_column_name_without_any_place_to_break_" * 4
HOSTILE = "</td><script>document.title = 'run'</script>"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
HARNESS = """<!doctype html><title>waiting</title>
<iframe width="{width}" height="900" frameborder="0"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const page = frame.contentDocument;
  const shown = [...page.images].every(image => image.complete && image.naturalWidth > 0);
  const [needed, given] = [page.documentElement.scrollWidth, page.documentElement.clientWidth];
  document.title = JSON.stringify([given, needed, shown, page.scripts.length]);
}};
frame.srcdoc = {page};
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    generator = np.random.default_rng(0)
    actual = generator.uniform(1e4, 5e5, 60)
    predictions = pd.DataFrame({"actual": actual, "predicted": actual + generator.normal(0, 4e4, 60)})
    importances = {LONG: 0.6, HOSTILE: 0.4}
    run = _run(importances)
    content = ReportContent(
        metadata=run,
        gate=judge({"rmse": 41_000.0}, {"evaluation": {"thresholds": {"rmse": {"max": 40_000.0}}}}),
        predictions=predictions,
        plots=draw_plots(predictions, importances, task="regression", folder=folder),
        validation=_validation(),
        previous=run.model_copy(update={"params": {}}),
    )
    path = folder / "report.html"
    path.write_text(render_report(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def sweep_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "report.html"
    path.write_text(render_sweep(*_sweep(), draw_figures(_sweep()[0])), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_of_a_sweep_never_scrolls_sideways(sweep_page, width, tmp_path):
    """Many settings with long names stay within the page of a phone and of a desk, plots included."""
    assert _measured(sweep_page, width, tmp_path) == [width, width, True, 0]


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_never_scrolls_sideways(page, width, tmp_path):
    """At the width of a phone, a tablet and a desk the page fits, its images show and no script is in it."""
    assert _measured(page, width, tmp_path) == [width, width, True, 0]


def test_the_page_can_be_looked_at(page, tmp_path):
    """A phone in the dark gets a picture of the page, light letters on a dark ground."""
    picture = tmp_path / "page.png"
    _browse(page, tmp_path, "--window-size=390,3000", "--force-dark-mode", f"--screenshot={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000


def test_the_page_can_be_printed(page, tmp_path):
    """Printing gives a PDF of a few pages."""
    paper = tmp_path / "page.pdf"
    _browse(page, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) <= 8


def _measured(page, width, tmp_path):
    """Return the width given and needed, whether every picture shows, and the number of scripts."""
    text = POLICY.sub("", page.read_text(encoding="utf-8")).replace("<details", "<details open")
    harness = tmp_path / "harness.html"
    harness.write_text(HARNESS.format(width=width, page=json.dumps(text).replace("</", r"<\/")))
    dom = _browse(harness, tmp_path, "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom")
    title = html.unescape(re.search("<title>(.*?)</title>", dom).group(1))
    return json.loads(title)


def _browse(path, folder, *options):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}",
        *options,
        path.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _sweep():
    run = _run({})
    sweep = SweepRecord(
        sweep_id="9" * 12,
        uid="8" * 32,
        run_name="sweep_20261121_090507",
        experiment="housing",
        started_at=run.started_at,
        metric="rmse",
        chosen_by="cv",
        is_grid=False,
        space="{}",
        lineage=run.lineage,
    )
    trials = [_trial(number) for number in range(12)]
    trials.append(_trial(12).model_copy(update={"state": "failed", "score": None, "error": LONG + HOSTILE}))
    outcome = SweepOutcome(
        sweep_id=sweep.sweep_id,
        run_id=sweep.uid,
        run_name=sweep.run_name,
        experiment="housing",
        metric="cv_rmse_mean",
        is_lower_better=True,
        chosen_by="cv",
        trials=tuple(trials),
        asked=13,
        best=0,
        runner_up=1,
        difference=Difference(metric="rmse", first=1.0, second=2.0, difference=1.0, lower=-0.5, upper=2.5),
        importances={"model.hyperparameters.lightgbm.learning_rate": 0.7, f"features.{LONG}": 0.3},
        command="run" + f" --set features.{LONG}=1" * 3,
        recorded="mlflow",
        report="logs/sweeps/report.html",
    )
    return outcome, sweep


def _trial(number):
    settings = {
        "model.hyperparameters.lightgbm.learning_rate": 0.01 * 1.4**number,
        f"features.{LONG}": HOSTILE if number % 2 else None,
        "features.numeric.columns": [LONG, LONG],
        "training.seed": number,
    }
    return SweepTrial(
        number=number,
        run_id="7" * 32,
        run_name=f"lightgbm_20261121_090507_{number}",
        state="complete",
        settings=settings,
        score=41_000.0 + number,
        metrics={"test_rmse": 42_000.0 + number},
        seconds=1.5 * number,
    )


def _run(importances):
    config = load_config({}, environ={})
    started = datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC)
    record = {
        "uid": "1" * 32,
        "run_id": "1" * 32,
        "run_name": "random_forest_20261121_090507",
        "experiment": "housing",
        "started_at": started,
        "ended_at": started + timedelta(seconds=75),
        "params": {"algorithm": "random_forest", LONG: LONG, "data.source": LONG},
        "metrics": {
            "test_rmse": 41_000.0,
            "train_rmse": 20_000.0,
            "cv_rmse_mean": 42e3,
            "cv_rmse_std": 900.0,
        },
        "importances": importances,
        "model": {
            "algorithm": "random_forest",
            "task": "regression",
            "target": "median_house_value",
            "classes": (),
            "inputs": (),
            "file": "model.skops",
            "sha256": "2" * 64,
            "size_bytes": 96_000_000,
            "digest": "3" * 64,
            "code": (),
            "requirements": (),
        },
        "lineage": {
            "code": {"commit": "4" * 40, "branch": LONG, "is_dirty": False},
            "data": (
                {"path": f"data/raw/{LONG}.csv", "md5": "5" * 32, "size_bytes": 1_400_000, "rows": 20_640},
            ),
            "config": config.as_dict(),
            "config_sha256": config.sha256,
            "environment": {
                "python": "3.11.7",
                "platform": "Linux-6.1-x86_64-with-glibc2.36",
                "cpu": "Some CPU @ 2.20GHz",
                "packages": {f"package-{number}": "1.0" for number in range(200)},
                "sha256": "6" * 64,
            },
            "seeds": {"split": 42},
            "threads": 2,
            "command": f"modelbook run --set data.source={LONG}",
            "host": "bench",
        },
    }
    return RunMetadata.model_validate(record)


def _validation():
    return ValidationReport.model_validate(
        {
            "rows": 20_640,
            "valid_rows": 20_433,
            "rejected": ({"reason": f"not a number, in {LONG}", "column": LONG, "rows": 207},),
            "warnings": (f"{LONG}: constant",),
            "failures": (),
            "columns": (
                {
                    "name": LONG,
                    "type": "float",
                    "nulls": 3,
                    "distinct": 9,
                    "min": -1.5,
                    "max": 2.5,
                    "mean": 0.25,
                },
                {"name": HOSTILE, "type": "string", "nulls": 0, "distinct": 5},
            ),
        }
    )
