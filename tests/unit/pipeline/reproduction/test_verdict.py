"""Two runs compared: values, tables, settings, and what they come to."""

import math

import polars as pl
import pytest

from modelbook.pipeline.reproduction.verdict import (
    TOLERANCE,
    Verdict,
    changed_settings,
    compare_values,
    furthest,
    judge_outcomes,
    table_digest,
)

TABLE = pl.DataFrame({"actual": ["a", "b"], "predicted": ["a", "a"], "probability_a": [0.9, 0.6]})


def moved(share):
    return TABLE.with_columns(probability_a=pl.col("probability_a") * (1 + share))


def judged(checks, tables, *, is_same_source=True):
    return judge_outcomes(checks, tables, is_same_source=is_same_source)


def check(recorded, reproduced, name="test_rmse"):
    return compare_values(name, recorded, reproduced)


@pytest.mark.parametrize(
    ("recorded", "reproduced", "equal"),
    [
        (0.1, 0.1, True),
        (0.1, math.nextafter(0.1, 1), False),
        (0.0, 0, True),
        (math.nan, math.nan, True),
        (math.inf, math.inf, True),
        (math.nan, 0.0, False),
        (None, 0.0, False),
        ("abc", "abc", True),
    ],
)
def test_values_are_equal_to_the_last_bit(recorded, reproduced, equal):
    """Numbers are equal bit for bit, and what is not a number equals itself."""
    assert check(recorded, reproduced).equal is equal


@pytest.mark.parametrize(
    "other",
    [
        TABLE.with_columns(probability_a=pl.Series([0.9, 0.6000000000000001])),
        TABLE.with_columns(predicted=pl.Series(["a", "b"])),
        TABLE.rename({"probability_a": "probability_b"}),
        TABLE.head(1),
        TABLE.with_columns(probability_a=pl.Series([0.9, None])),
    ],
)
def test_a_table_has_a_digest(other):
    """The digest is of names, types and values, to the last bit."""
    assert table_digest(TABLE) == table_digest(TABLE.clone())
    assert table_digest(TABLE) != table_digest(other)


def test_how_far_tables_are_apart():
    """The distance is relative; other labels, columns or rows do not compare."""
    assert furthest(TABLE, TABLE) == 0
    assert furthest(TABLE, moved(1e-7)) == pytest.approx(1e-7, rel=1e-6)
    assert furthest(TABLE, TABLE.with_columns(predicted=pl.Series(["a", "b"]))) == math.inf
    assert furthest(TABLE, TABLE.head(1)) == math.inf
    assert furthest(pl.DataFrame({"a": [math.nan, math.inf]}), pl.DataFrame({"a": [math.nan, math.inf]})) == 0
    assert furthest(pl.DataFrame({"a": [math.nan]}), pl.DataFrame({"a": [1.0]})) == math.inf


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        ((1.0, TABLE, "a"), Verdict.IDENTICAL),
        ((1.0, TABLE, "b"), Verdict.EQUIVALENT),
        ((1.0 + TOLERANCE / 2, moved(TOLERANCE / 2), "b"), Verdict.EQUIVALENT),
        ((1.0 + TOLERANCE * 2, TABLE, "b"), Verdict.DIFFERENT),
        ((1.0, moved(TOLERANCE * 2), "b"), Verdict.DIFFERENT),
    ],
)
def test_the_verdict(outcome, verdict):
    """All equal is identical; within the tolerance, whatever the digest, equivalent; else different."""
    metric, other, digest = outcome
    checks = [check(1.0, metric), check("a", digest, name="model digest")]
    checks.append(check(table_digest(TABLE), table_digest(other), name="predictions"))
    assert judged(checks, (TABLE, other)) is verdict
    assert judged(checks, (TABLE, other), is_same_source=False) is Verdict.DIFFERENT


def test_without_the_recorded_predictions():
    """A record without predictions is never found identical or equivalent: nothing was compared."""
    checks = [check(1.0, 1.0), check(None, table_digest(TABLE), name="predictions")]
    assert judged([*checks, check("a", "a", name="model digest")], (None, TABLE)) is Verdict.DIFFERENT


def test_a_metric_that_is_gone():
    """A recorded metric that is not measured any more is no equal outcome."""
    assert judged([check(1.0, None)], (TABLE, TABLE)) is Verdict.DIFFERENT


def test_settings_that_changed():
    """Each changed key is named with both values; keys that the record does not know are defaults."""
    recorded = {"a": {"b": 1, "c": [1, 2]}, "d": {}, "e": "text", "f": {0: 1}}
    now = {"a": {"b": 1.0, "c": [1, 2], "new": None}, "d": {"x": 1}, "f": {"0": 1}}
    assert list(changed_settings(recorded, now)) == [
        "a.b: 1 → 1.0",
        "d.x: absent → 1",
        "e: 'text' → absent",
        "f.0: 1 → absent",
    ]
    assert list(changed_settings(recorded, recorded)) == []
