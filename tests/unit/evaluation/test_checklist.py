"""The gate's checks as the report shows them."""

from modelbook.evaluation.checklist import checklist, headlines
from modelbook.records import GateCheck


def check(name, *, passed=True, kind="slice", **about):
    given = {"metric": "rmse", "value": 5.0, "min": None, "max": 8.0} | about
    return GateCheck(name=name, kind=kind, passed=passed, **given)


def test_what_failed_comes_first():
    """Failed checks head the table, then those that were not judged; 60 lines are shown at most."""
    checks = [check(f"kept {number}") for number in range(100)]
    checks += [check("open", passed=None), check("missed", passed=False)]
    rows = checklist(checks)
    assert [row.check.name for row in rows[:3]] == ["missed", "open", "kept 0"]
    assert [row.answer for row in rows[:3]] == ["missed", "not judged", "kept"]
    assert len(rows) == 60


def test_an_interval_is_drawn_beside_its_limits():
    """All checks of a metric share a scale, from the least to the greatest number drawn."""
    one = check("one", lower=2.0, upper=6.0, baseline=4.0)
    other = check("other", value=9.0, lower=8.5, upper=12.0, baseline=4.0)
    first, second = (row.whisker for row in checklist([one, other]))
    assert (first.lower, second.upper) == (4.0, 96.0)
    assert first.lower < first.value < first.upper < first.limits[0] < second.value
    assert first.whole == second.whole == 22.4


def test_what_has_no_interval_is_not_drawn():
    """Without an interval, or without two different numbers, there is no drawing."""
    plain, flat, endless = checklist(
        [
            check("plain", metric="mae"),
            check("flat", metric="mape", value=1.0, lower=1.0, upper=1.0, max=1.0),
            check("endless", value=float("inf"), lower=1.0, upper=float("inf")),
        ]
    )
    assert plain.whisker is flat.whisker is endless.whisker is None


def test_the_verdict_shows_what_is_about_the_whole_model():
    """Beside the verdict stand thresholds, the smoke test and failed slices."""
    checks = [
        check("rmse_threshold", kind="threshold"),
        check("smoke_test", kind="smoke_test"),
        check("kept"),
        check("missed", passed=False),
    ]
    assert [one.name for one in headlines(checks)] == ["rmse_threshold", "smoke_test", "missed"]
