import polars as pl
import pytest

from modelbook.errors import DataInvalidError, UsageError
from modelbook.scaffold.facts import measure
from modelbook.scaffold.profile import Profile, decide, refuse_few_rows

ROWS = 60


def profile(target: str = "y", task: str = "auto", **columns: object) -> Profile:
    table = {"y": [float(row) + 0.5 for row in range(ROWS)], "x": [row % 7 / 2 for row in range(ROWS)]}
    return decide(measure(pl.LazyFrame(table | columns, strict=False)), target=target, task=task)


def role(values: object, name: str = "z") -> tuple[str, str]:
    found = {column.name: column for column in profile(**{name: values}).columns}[name]
    return found.role, found.why


@pytest.mark.parametrize(
    ("values", "wanted", "why"),
    [
        (["a", "b", "c"] * 20, "categorical", "text, 3 categories: one-hot"),
        ([f"c{row % 31}" for row in range(ROWS)], "left out", "an id or a name: differs in nearly every row"),
        ([f"c{row}" for row in range(ROWS)], "left out", "an id or a name: differs in every row"),
        ([f"it was the {row} of all times" for row in range(ROWS)], "left out", "free text"),
        (
            [f"{row},000" for row in range(1, ROWS + 1)],
            "left out",
            "numbers written as text, with separators",
        ),
        ([row % 9 for row in range(ROWS)], "numeric", "whole numbers"),
        (list(range(1, ROWS + 1)), "left out", "an id: counts the rows"),
        (list(range(1960, 1960 + ROWS)), "numeric", "whole numbers"),
        ([0.5, 1.5] * 30, "numeric", "numbers"),
        ([True, False] * 30, "boolean", "true and false"),
        (["2021-03-01", "2021-03-02"] * 30, "datetime", "dates"),
        ([3] * ROWS, "left out", "the same value in every row"),
        ([None] * ROWS, "left out", "no values"),
        ([""] * ROWS, "left out", "no values"),
        ([[1]] * ROWS, "left out", "List(Int64) values cannot be a feature"),
    ],
)
def test_role(values: list[object], wanted: str, why: str):
    """Each column gets the role that its values call for, or is left out with the reason."""
    found, reason = role(values)
    assert found == wanted
    assert reason.startswith(why)


def test_called_id():
    """Consecutive numbers are an id when the name says so, wherever they begin."""
    assert role(list(range(1000, 1000 + ROWS)), "order_id")[0] == "left out"


def test_many_categories():
    """Ten thousand categories are encoded by target, unless nearly every row has its own."""
    rows = 30_000
    table = {"y": [row + 0.5 for row in range(rows)], "city": [f"c{row % 10_000}" for row in range(rows)]}
    found = decide(measure(pl.LazyFrame(table)), target="y")
    assert found.named("categorical") == ("city",)
    assert found.columns[1].why == "text, 10,000 categories: target encoding"


@pytest.mark.parametrize(
    ("target", "task", "split", "why"),
    [
        (["no", "yes"] * 30, "classification", "stratified", "y is text, 2 different values"),
        ([True, False] * 30, "classification", "stratified", "y is true and false"),
        ([1, 2, 3] * 20, "classification", "stratified", "y holds whole numbers, only 3 different"),
        (list(range(30)) * 2, "regression", "random", "y holds whole numbers, 30 different"),
        (list(range(15)), "regression", "random", "y holds whole numbers, 15 different"),
        ([0.5, 1.5] * 30, "regression", "random", "y holds numbers with fractions, 2 different"),
    ],
)
def test_task(target: list[object], *, task: str, split: str, why: str):
    """Text, true and false and few whole numbers are classes; other numbers are predicted as such."""
    found = profile(y=target, x=[row % 7 / 2 for row in range(len(target))])
    assert (found.task, found.split, found.why) == (task, split, why)


def test_task_as_asked():
    """A task that suits the data is taken, and auto's opinion is told."""
    found = profile(task="regression", y=[1, 2, 3] * 20)
    assert found.task == "regression"
    assert (
        found.why
        == "as --task says; y holds whole numbers, only 3 different, which auto takes for classification"
    )


def test_target_classes_with_decimals():
    """Classes written as 0.0 and 1.0, as pandas does where some are missing, become whole numbers."""
    found = profile(y=["0.0", "1.0", ""] * 20)
    assert found.task == "classification"
    assert found.columns[0].rule.type == "integer"


def test_rules():
    """Counts may not be negative; anything else may exceed what was seen, and gaps only where there were."""
    found = profile(count=[row % 9 for row in range(ROWS)], gap=[0.5, None] * 30)
    rules = {column.name: column.rule for column in found.columns}
    assert (rules["count"].min, rules["count"].max, rules["count"].nullable) == (0, None, False)
    assert (rules["gap"].min, rules["gap"].nullable) == (None, True)
    assert rules["y"].nullable is False


def test_bad_rows_are_allowed_for():
    """Rows without a target and stray values are told of, and the limit lets the table pass as it is."""
    target = [None] * 6 + [row + 0.5 for row in range(ROWS - 6)]
    found = profile(y=target)
    assert found.notes == ("y: missing in 6 of 60 rows; validation will write them aside",)
    assert found.max_rejected_share == 0.15
    stray = profile(
        y=[row + 0.5 for row in range(100)],
        x=[str(row % 7) for row in range(99)] + ["many"],
    )
    assert stray.notes == ("x: not a whole number in 1 of 100 rows; validation will write them aside",)
    assert stray.max_rejected_share == 0.06


def test_infinite_numbers():
    """Infinite numbers are told of as bad rows, and stay out of the range that was seen."""
    found = profile(x=[float("inf"), float("-inf")] + [row % 7 / 2 for row in range(ROWS - 2)])
    assert found.notes == ("x: infinite in 2 of 60 rows; validation will write them aside",)
    assert found.max_rejected_share == 0.09
    assert found.columns[1].seen == "0 to 3"


@pytest.mark.parametrize("task", ["auto", "regression"])
def test_target_with_decimal_commas(task: str):
    """A target that is text for its decimal commas is refused with the reason, however often values occur."""
    for values in ([f"{row},25" for row in range(ROWS)], ["1,5", "2,5", "3"] * 20):
        with pytest.raises(DataInvalidError, match="numbers with decimal commas") as caught:
            profile(y=values, task=task)
        assert "decimal points" in str(caught.value.hint)
    assert profile(y=["1,5", "2,5", "3"] * 20, task="classification").task == "classification"


def test_feature_with_decimal_commas():
    """A feature that is text for its decimal commas is left out with that reason."""
    assert role([f"{row},25" for row in range(ROWS)]) == (
        "left out",
        "numbers with decimal commas: write them with points to use them",
    )


def test_few_rows():
    """A table with too few rows that are good is refused; bad values in the same rows count once."""
    table = {"y": [0.5, 1.5] * 10 + [None] * 2, "x": [1.5, 2.5] * 10 + [float("inf")] * 2}
    facts = measure(pl.LazyFrame(table))
    refuse_few_rows(facts, target="y", min_rows=20)
    with pytest.raises(DataInvalidError, match="20 rows left to train and test on"):
        refuse_few_rows(facts, target="y", min_rows=21)


def test_class_of_one_row():
    """A class with a single row cannot be stratified, so the split is random and that is said."""
    found = profile(y=["a", "b"] * 29 + ["b", "c"])
    assert found.split == "random"
    assert found.notes == ("y: a class has one row only, so the split is not stratified",)


@pytest.mark.parametrize(
    ("columns", "options", "error", "message"),
    [
        ({}, {"target": "Y "}, UsageError, "the table has no such column"),
        ({"y": [None] * ROWS}, {}, DataInvalidError, "the target is missing in every row"),
        ({"y": [1.5] * ROWS}, {}, DataInvalidError, "the target has the same value in every row"),
        ({"y": ["a"] * ROWS}, {}, DataInvalidError, "the target has the same value in every row"),
        (
            {"y": [f"n{row}" for row in range(ROWS)]},
            {},
            DataInvalidError,
            "the target differs in nearly every",
        ),
        ({"y": ["2021-03-01", "2021-03-02"] * 30}, {}, UsageError, "the target is of a type that cannot be"),
        ({"y": [[1]] * ROWS}, {}, UsageError, "the target is of a type that cannot be"),
        ({"y": ["a", "b"] * 30}, {"task": "regression"}, UsageError, "the target does not suit regression"),
        ({}, {"task": "classification"}, UsageError, "the target does not suit classification"),
        ({"x": [1] * ROWS}, {}, DataInvalidError, "no column is left to predict from"),
        ({"y": [], "x": []}, {}, DataInvalidError, "the table has no rows"),
    ],
)
def test_refusals(
    columns: dict[str, object], *, options: dict[str, str], error: type[Exception], message: str
):
    """What nothing can be learned from is refused with the reason."""
    with pytest.raises(error, match=message):
        profile(**options, **columns)


def test_nearest_names():
    """A target that is not there is answered with the names nearest to it."""
    with pytest.raises(UsageError) as caught:
        profile(target="Salesprice", SalePrice=[1.5, 2.5] * 30)
    assert caught.value.expected == "SalePrice"
    assert caught.value.exit_code == 2
