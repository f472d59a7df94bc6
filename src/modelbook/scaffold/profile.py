"""What a new project makes of a table: the task, and for each column a type and a role, with the reasons."""

import difflib
import math
import re
from collections.abc import Sequence
from typing import Literal

from modelbook.config import ColumnSchema, Task
from modelbook.data.validate import too_few_rows
from modelbook.errors import DataInvalidError, UsageError
from modelbook.records import Record
from modelbook.scaffold.facts import MAX_SEEN, ColumnFacts
from modelbook.scaffold.place import Place, find_place

TaskChoice = Literal["auto", "regression", "classification"]
Role = Literal["target", "numeric", "categorical", "boolean", "datetime", "left out"]

_MAX_ONE_HOT = 30
_NEARLY_UNIQUE_SHARE = 0.5
_FREE_TEXT_WORDS = 5
_GROUPED_SHARE = 0.9
_COMMA_SHARE = 0.5
_COMMON_REJECTED_SHARE = 0.05
_NOUNS = {"integer": "a whole number", "float": "a number", "boolean": "true or false", "datetime": "a date"}


class ColumnDecision(Record):
    """What becomes of one column.

    Attributes:
        name: The column.
        role: What it is used for.
        why: Why, in words.
        rule: What validation holds it to; None for a type that no rule is made for.
        seen: What its values were like, in words.
    """

    name: str
    role: Role
    why: str
    rule: ColumnSchema | None
    seen: str


class Profile(Record):
    """What a new project makes of a table.

    Attributes:
        rows: The table's rows.
        target: The column to predict.
        task: What predicting it amounts to.
        why: Why that task, in words.
        split: How rows are going to be divided.
        max_rejected_share: The share of bad rows to put up with, in [0, 1]; rows without a target are bad.
        columns: The decision on each column, in the table's order.
        place: The columns that say where a row is; None where there are none.
        ratios: Numerator and denominator of counts that rise together.
        notes: What the user should know about the table.
    """

    rows: int
    target: str
    task: Task
    why: str
    split: Literal["random", "stratified"]
    max_rejected_share: float
    columns: tuple[ColumnDecision, ...]
    place: Place | None
    notes: tuple[str, ...]
    ratios: tuple[tuple[str, str], ...] = ()

    def named(self, role: Role) -> tuple[str, ...]:
        """Return the names of the columns of a role."""
        return tuple(column.name for column in self.columns if column.role == role)


def decide(facts: Sequence[ColumnFacts], *, target: str, task: TaskChoice = "auto") -> Profile:
    """Return what to make of a table whose columns hold these facts.

    Raises:
        UsageError: There is no such target, or the task does not suit it.
        DataInvalidError: Nothing can be learned: no rows, no feature, or a target without two values.

    Example:
        >>> from modelbook.scaffold.facts import measure
        >>> import polars as pl
        >>> table = pl.LazyFrame({"size": [1.5, 2.0, 3.25, 1.0], "kind": ["a", "b", "a", "b"]})
        >>> profile = decide(measure(table), target="kind")
        >>> profile.task, profile.named("numeric")
        ('classification', ('size',))
    """
    goal = _find_target(facts, target)
    _check_target(goal)
    chosen, why = _decide_task(goal, task)
    columns = tuple(_decide_column(fact, goal, chosen) for fact in facts)
    if not any(column.role not in {"target", "left out"} for column in columns):
        raise _no_feature(columns)
    place = _find_place(facts, columns)
    split, notes = _decide_split(goal, chosen)
    share, missing = _allow_rejected(facts, goal)
    return Profile(
        rows=goal.rows,
        target=target,
        task=chosen,
        why=why,
        split=split,
        max_rejected_share=share,
        columns=tuple(_placed(column, place) for column in columns),
        place=place,
        notes=(*notes, *missing),
    )


def refuse_few_rows(facts: Sequence[ColumnFacts], *, target: str, min_rows: int) -> None:
    """Raise if a table has fewer rows to learn from than validation is going to ask for.

    Raises:
        DataInvalidError: Even if all bad values are in the same rows, too few are left.

    Example:
        >>> from modelbook.scaffold.facts import measure
        >>> import polars as pl
        >>> refuse_few_rows(measure(pl.LazyFrame({"y": [1.5, 2.5]})), target="y", min_rows=2)
    """
    rows = min(fact.values if fact.name == target else fact.values + fact.nulls for fact in facts)
    if rows < min_rows:
        raise DataInvalidError(
            f"validation would fail: {too_few_rows(rows, min_rows)}",
            expected=f"at least {min_rows} rows with a target and without a bad value",
            hint="give --data a table with more rows",
        )


def _no_feature(columns: Sequence[ColumnDecision]) -> DataInvalidError:
    left_out = [f"{column.name}: {column.why}" for column in columns if column.role == "left out"]
    return DataInvalidError(
        "no column is left to predict from",
        got="; ".join(left_out) or "the target alone",
        hint="give --data a table with more columns",
    )


def _find_target(facts: Sequence[ColumnFacts], target: str) -> ColumnFacts:
    names = [fact.name for fact in facts]
    if target in names:
        return facts[names.index(target)]
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(target.casefold(), list(folded), n=3, cutoff=0.5)
    nearest = [folded[name] for name in near] or names[:8]
    raise UsageError(
        "the table has no such column",
        where="--target",
        got=target,
        expected=", ".join(nearest),
        hint="give --target the name of a column",
    )


def _check_target(goal: ColumnFacts) -> None:
    where = f"column {goal.name}"
    hint = "choose another --target, or mend the data"
    if goal.rows == 0:
        raise DataInvalidError("the table has no rows", where=where, hint="give --data a table with rows")
    if goal.values == 0:
        raise DataInvalidError("the target is missing in every row", where=where, hint=hint)
    if goal.type in {None, "datetime"}:
        kind = goal.type or goal.stored_as
        raise UsageError(
            "the target is of a type that cannot be predicted",
            where=where,
            got=kind,
            expected="numbers, text or true and false",
            hint="choose another --target",
        )
    if goal.distinct == 1:
        raise DataInvalidError("the target has the same value in every row", where=where, hint=hint)


def _decide_task(goal: ColumnFacts, task: TaskChoice) -> tuple[Task, str]:
    if task != "classification" and _has_decimal_commas(goal, _COMMA_SHARE):
        raise _decimal_commas(goal)
    natural, why = _natural_task(goal)
    if task == "regression" and goal.type in {"string", "boolean"}:
        raise _contradiction(goal, task, got=f"{goal.type} values", expected="numbers")
    if task == "classification" and goal.type == "float" and not goal.is_whole:
        expected = "text, true and false, or whole numbers"
        raise _contradiction(goal, task, got="numbers with fractions", expected=expected)
    chosen = natural if task == "auto" else task
    if chosen == "classification" and _is_nearly_unique(goal):
        raise DataInvalidError(
            "the target differs in nearly every row, so there are no classes to learn",
            where=f"column {goal.name}",
            got=f"{goal.distinct:,} different values in {goal.values:,} rows",
            hint="choose another --target",
        )
    return chosen, why if chosen == natural else f"as --task says; {why}, which auto takes for {natural}"


def _natural_task(goal: ColumnFacts) -> tuple[Task, str]:
    distinct = f"{goal.distinct:,} different"
    if goal.type in {"string", "boolean"}:
        kind = "true and false" if goal.type == "boolean" else f"text, {distinct} values"
        return "classification", f"{goal.name} is {kind}"
    if goal.is_whole and goal.distinct <= MAX_SEEN and not _is_nearly_unique(goal):
        return "classification", f"{goal.name} holds whole numbers, only {distinct}"
    kind = "whole numbers" if goal.is_whole else "numbers with fractions"
    return "regression", f"{goal.name} holds {kind}, {distinct}"


def _has_decimal_commas(fact: ColumnFacts, share: float) -> bool:
    """Return whether a column is text for its commas alone; 1,234 and 5,678 may well be thousands."""
    return fact.type == "string" and fact.comma_share > share and fact.grouped_share < _GROUPED_SHARE


def _decimal_commas(goal: ColumnFacts) -> DataInvalidError:
    return DataInvalidError(
        "the target reads as text, because it holds numbers with decimal commas",
        where=f"column {goal.name}",
        got=f"decimal commas in {goal.comma_share:.0%} of its values",
        expected="numbers with decimal points, as in 12.5",
        hint="save the table with decimal points; to predict the values as classes, --task classification",
    )


def _contradiction(goal: ColumnFacts, task: str, *, got: str, expected: str) -> UsageError:
    return UsageError(
        f"the target does not suit {task}",
        where=f"column {goal.name}",
        got=got,
        expected=expected,
        hint="leave --task out, or choose another --target",
    )


def _decide_column(fact: ColumnFacts, goal: ColumnFacts, task: Task) -> ColumnDecision:
    if fact.name == goal.name:
        return _target_column(fact, task)
    role, why = _role(fact)
    return ColumnDecision(name=fact.name, role=role, why=why, rule=_rule(fact), seen=_seen(fact))


def _find_place(facts: Sequence[ColumnFacts], columns: Sequence[ColumnDecision]) -> Place | None:
    numeric = {column.name for column in columns if column.role == "numeric"}
    return find_place([fact for fact in facts if fact.name in numeric])


def _placed(column: ColumnDecision, place: Place | None) -> ColumnDecision:
    if place is None or column.name not in {place.latitude, place.longitude}:
        return column
    which = "latitude" if column.name == place.latitude else "longitude"
    return column.model_copy(
        update={"why": f"{column.why}, by name and range the {which}: features.geography"}
    )


def _target_column(goal: ColumnFacts, task: Task) -> ColumnDecision:
    rule = ColumnSchema(type=goal.type or "string", nullable=False)
    if task == "classification" and goal.type == "float":
        rule = ColumnSchema(type="integer", nullable=False)
    return ColumnDecision(name=goal.name, role="target", why="to predict", rule=rule, seen=_seen(goal))


def _role(fact: ColumnFacts) -> tuple[Role, str]:
    if fact.values == 0:
        return "left out", "no values"
    if fact.type is None:
        return "left out", f"{fact.stored_as} values cannot be a feature"
    if fact.distinct <= 1:
        return "left out", "the same value in every row"
    if fact.type == "string":
        return _role_of_text(fact)
    if fact.type == "integer" and _counts_rows(fact):
        return "left out", "an id: counts the rows"
    roles: dict[str, tuple[Role, str]] = {
        "integer": ("numeric", "whole numbers"),
        "float": ("numeric", "numbers"),
        "boolean": ("boolean", "true and false"),
        "datetime": ("datetime", "dates"),
    }
    return roles[fact.type]


def _role_of_text(fact: ColumnFacts) -> tuple[Role, str]:
    if _is_nearly_unique(fact):
        if fact.grouped_share >= _GROUPED_SHARE:
            return "left out", "numbers written as text, with separators: write them plainly to use them"
        if _has_decimal_commas(fact, _COMMA_SHARE):
            return "left out", "numbers with decimal commas: write them with points to use them"
        if fact.mean_words >= _FREE_TEXT_WORDS:
            return "left out", "free text"
        every = "every row" if fact.distinct == fact.values else "nearly every row"
        return "left out", f"an id or a name: differs in {every}"
    how = "one-hot" if fact.distinct <= _MAX_ONE_HOT else "target encoding"
    return "categorical", f"text, {fact.distinct:,} categories: {how}"


def _is_nearly_unique(fact: ColumnFacts) -> bool:
    is_many = fact.distinct > MAX_SEEN and fact.distinct > _NEARLY_UNIQUE_SHARE * fact.values
    return is_many or (fact.distinct == fact.values and fact.values > 2)  # noqa: PLR2004 (two are classes)


def _counts_rows(fact: ColumnFacts) -> bool:
    if fact.min is None or fact.max is None or fact.distinct != fact.values:
        return False
    is_called_id = re.search(r"(^|[_\W])(id|index|key|no|nr|row)$", fact.name, re.IGNORECASE) is not None
    # A year a row is no id, though it counts on as well.
    return fact.max - fact.min + 1 == fact.values and (is_called_id or fact.min in {0, 1})


def _rule(fact: ColumnFacts) -> ColumnSchema | None:
    if fact.type is None:
        return None
    is_count = fact.is_whole and fact.min is not None and fact.min >= 0
    return ColumnSchema(type=fact.type, nullable=fact.nulls > 0, min=0 if is_count else None)


def _seen(fact: ColumnFacts) -> str:
    missing = f", {fact.nulls:,} missing" if fact.nulls else ""
    if fact.min is not None and fact.max is not None:
        return f"{_plain(fact.min)} to {_plain(fact.max)}{missing}"
    if fact.seen:
        return ", ".join(value for value, _ in fact.seen) + missing
    return f"{fact.distinct:,} different{missing}"


def _plain(number: float) -> str:
    return f"{number:.0f}" if number.is_integer() else f"{number:g}"


def _decide_split(goal: ColumnFacts, task: Task) -> tuple[Literal["random", "stratified"], tuple[str, ...]]:
    if task == "regression":
        return "random", ()
    if any(rows == 1 for _, rows in goal.seen):
        return "random", (f"{goal.name}: a class has one row only, so the split is not stratified",)
    return "stratified", ()


def _allow_rejected(facts: Sequence[ColumnFacts], goal: ColumnFacts) -> tuple[float, tuple[str, ...]]:
    """Return the share of bad rows to allow, and where they are, so that the table passes as it is."""
    bad = [(fact.name, fact.strays, f"not {_NOUNS.get(fact.type or '', 'text')}") for fact in facts]
    bad += [(fact.name, fact.infinite, "infinite") for fact in facts]
    notes = [f"{name}: {what} in {rows:,} of {goal.rows:,} rows" for name, rows, what in bad if rows]
    if goal.nulls:
        notes.insert(0, f"{goal.name}: missing in {goal.nulls:,} of {goal.rows:,} rows")
    share = (goal.nulls + sum(rows for _, rows, _ in bad)) / goal.rows
    allowed = (
        _COMMON_REJECTED_SHARE
        if share == 0
        else min(1.0, math.ceil(100 * share) / 100 + _COMMON_REJECTED_SHARE)
    )
    return round(allowed, 2), tuple(f"{note}; validation will write them aside" for note in notes)
