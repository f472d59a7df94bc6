import math
import re
from dataclasses import replace

import pandas as pd
import pytest

from modelbook.evaluation.gate import held_out_metrics, judge
from modelbook.evaluation.plots import draw_plots
from modelbook.evaluation.report import ReportContent, render_report
from modelbook.records import GateDecision, GateVerdict, Outcome, Trial

PASSED = GateDecision(verdict=GateVerdict.PASSED, checks=())


def text_of(page):
    body = page.partition("<body>")[2]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.fixture
def content(*, run, previous_run, regression_predictions, validation, importances, tmp_path):
    thresholds = {"rmse": {"max": 70.0}, "r2_score": {"min": 0.99}}
    return ReportContent(
        metadata=run,
        gate=judge(held_out_metrics(run.metrics), {"evaluation": {"thresholds": thresholds}}),
        predictions=regression_predictions,
        plots=draw_plots(regression_predictions, importances, task="regression", folder=tmp_path),
        validation=validation,
        previous=previous_run,
        version="diabetes / 3",
    )


def test_the_page_needs_nothing_but_itself(content):
    """No script, no style sheet, no image comes from elsewhere; the plots are inside."""
    page = render_report(content)
    assert page.lstrip().startswith("<!doctype html>")
    assert '<html lang="en">' in page
    assert page.count("data:image/png;base64,") == 3
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert len(page) < 1_500_000


def test_names_are_text(content, hostile_name):
    """A column called like a script is shown, and does nothing."""
    page = render_report(content)
    assert hostile_name not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


def test_a_search_is_shown_with_what_it_tried(content):
    """The candidates of an automatic choice stand in the order of their scores, with why one has none."""
    trials = (
        Trial(number=1, algorithm="linear", settings={}, score=71.2, seconds=0.4),
        Trial(
            number=2,
            algorithm="mlp",
            settings={},
            seconds=0.1,
            note="does not fit into the time that is left",
        ),
        Trial(number=3, algorithm="lightgbm", settings={"num_leaves": 40}, score=60.5, seconds=3),
    )
    outcome = Outcome(
        algorithm="blend", hyperparameters={}, metric="rmse", score=59.9, trials=trials, seconds=4
    )
    searched = content.metadata.model_copy(update={"outcome": outcome})
    text = text_of(render_report(replace(content, metadata=searched)))
    assert text.index("3 lightgbm 60.5") < text.index("1 linear 71.2") < text.index("2 mlp ")
    assert "does not fit into the time that is left" in text
    assert "What was chosen of them, blend, has RMSE 59.9 on the rows held back." in text
    assert "candidates were tried" not in text_of(render_report(content))


def test_the_verdict_comes_with_its_checks(content):
    """A rejected model is said to be one, with each check's value and limits."""
    text = text_of(render_report(content))
    assert "Rejected 1 of 2 thresholds missed: R²." in text
    assert "kept: at most 70" in text
    assert "missed: at least 0.99" in text


def test_no_thresholds_is_no_success(run, regression_predictions):
    """A model that nothing was asked of is not called passed."""
    unjudged = GateDecision(verdict=GateVerdict.NONE, checks=())
    page = render_report(ReportContent(metadata=run, gate=unjudged, predictions=regression_predictions))
    assert "Not judged The settings name no thresholds" in text_of(page)


def test_metrics_stand_beside_the_last_run(content):
    """Each metric shows test, training, cross-validation, the last run's, and whether it got better."""
    now, then = content.metadata.metrics["test_rmse"], content.previous.metrics["test_rmse"]
    text = text_of(render_report(content))
    assert f"RMSE {now:.4g} {0.9 * now:.4g} {1.01 * now:.4g} ± {0.02 * now:.2g} {then:.4g}" in text
    assert now < then
    assert f"\N{MINUS SIGN}{then - now:.4g} better" in text
    assert "max_depth 3 4" in text


def test_other_data_is_pointed_out(content):
    """Where the last run saw other data, the comparison says so."""
    assert "Its data was other than" not in render_report(content)
    lineage = content.previous.lineage.model_copy(update={"data": ()})
    previous = content.previous.model_copy(update={"lineage": lineage})
    assert "Its data was other than" in render_report(
        ReportContent(
            metadata=content.metadata,
            gate=content.gate,
            predictions=content.predictions,
            previous=previous,
        )
    )


def test_the_largest_errors_come_by_row(content):
    """The ten rows with the largest absolute errors are named by their number, the largest first."""
    errors = (content.predictions["predicted"] - content.predictions["actual"]).abs()
    worst = errors.sort_values(ascending=False, kind="stable").index[:10]
    section = render_report(content).partition('id="mistakes"')[2].partition("</section>")[0]
    rows = [int(row) for row in re.findall(r'<th scope="row" class="n">(\d+)</th>', section)]
    assert rows == list(worst)


def test_confident_mistakes_come_first(binary_run, binary_predictions):
    """In classification the mistakes made with the highest probability are named."""
    page = render_report(ReportContent(metadata=binary_run, gate=PASSED, predictions=binary_predictions))
    section = page.partition('id="mistakes"')[2].partition("</section>")[0]
    given = [float(value) for value in re.findall(r'<td class="n">([\d.]+)</td>', section)]
    assert given == sorted(given, reverse=True)
    assert len(given) == 10
    assert "There is no earlier run to compare with." in page


def test_no_mistakes_are_said_to_be_none(binary_run):
    """A perfect model has no worst rows, with and without probabilities."""
    table = pd.DataFrame({"actual": [True, False], "predicted": [True, False]})
    page = render_report(ReportContent(metadata=binary_run, gate=PASSED, predictions=table))
    assert "Every test row was predicted right." in page
    wrong = render_report(
        ReportContent(metadata=binary_run, gate=PASSED, predictions=table.assign(predicted=True))
    )
    assert "Largest mistakes" in wrong


def test_data_settings_and_lineage_are_there(content):
    """Rejected rows, warnings, columns, every setting, hashes, commit, command and packages can be read."""
    text = text_of(render_report(content))
    for expected in (
        "442 (98.2%)",
        "missing value bmi 5",
        "s2: correlates with the target",
        "test_size: 0.2",
        "differed from the commit",
        content.metadata.lineage.code.commit,
        content.metadata.lineage.config_sha256,
        content.metadata.model.digest,
        content.metadata.lineage.command,
        "d" * 32,
        "package-7==1.7",
        "split 42, training 42",
        "3.1 s",
        "Registered as diabetes / 3",
    ):
        assert expected in text


def test_equal_content_gives_equal_text(content):
    """The report holds no time of its own making."""
    assert render_report(content) == render_report(content)


def test_undefined_numbers_are_dashes(run, regression_predictions):
    """NaN metrics are shown as absent, not as a number."""
    broken = run.model_copy(update={"metrics": {"test_rmse": math.nan}})
    page = render_report(
        ReportContent(metadata=broken, gate=PASSED, predictions=regression_predictions, previous=run)
    )
    assert "RMSE \N{EN DASH}" in text_of(page)
    assert "nan" not in text_of(page).lower()


def test_what_each_feature_is_worth(content, hostile_name):
    """The report has a table of it where it was asked for; names in it are text."""
    assert "What each feature is worth" not in render_report(content)
    worth = pd.DataFrame(
        {
            "feature": ["bmi", hostile_name],
            "metric": "rmse",
            "worth": [12.5, -0.25],
            "spread": [1.5, 0.5],
            "rows": 240,
            "repeats": 5,
        }
    )
    page = render_report(replace(content, worth=worth))
    assert hostile_name not in page
    assert "How much worse rmse gets on 240 test rows" in text_of(page)
    assert 'value="1.0000"' in page
    assert page.count("<meter") == 1
