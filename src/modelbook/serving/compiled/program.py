"""From the values of raw columns to features: a list of small steps, made row by row in machine code.

Each step reads and writes places of a row. The first places hold what was read, the last ones the features.
"""

import math
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbook.serving.compiled.kernel import machine_code

Floats = npt.NDArray[np.float64]

LARGEST = float(np.finfo(np.float32).max)

_MICROSECONDS_PER_HOUR = 3_600_000_000.0
_MICROSECONDS_PER_MINUTE = 60_000_000.0
_SATURDAY = 5


class Step(IntEnum):
    """What a step does; `x` and `y` are places that it reads, `at` is where its constants begin."""

    RATIO = 0  # x / y, missing where y is 0
    PRODUCT = 1  # x * y
    DIFFERENCE = 2  # x - y
    SUM = 3  # x + y
    LOGARITHM = 4  # log(1 + |x|), with the sign of x
    ROOT = 5  # the root of |x|, with the sign of x
    COUNT = 6  # how often x occurred: `width` sorted numbers, their counts, and that of a gap
    LOOKUP = 7  # the `width` constants of row x of a table
    PART = 8  # the part `y` of the time whose days and microseconds are at x and x + 1
    FILL = 9  # x, or a constant where it is missing
    CENTRE = 10  # (x - constant) / constant
    STRETCH = 11  # x * constant + constant


class Part(IntEnum):
    """Parts of a time."""

    YEAR = 0
    QUARTER = 1
    MONTH = 2
    WEEK = 3
    DAY = 4
    DAY_OF_YEAR = 5
    WEEKDAY = 6
    IS_WEEKEND = 7
    HOUR = 8
    MINUTE = 9


STEP_FIELDS = ("step", "out", "x", "y", "at", "width")

_RATIO, _PRODUCT, _DIFFERENCE, _SUM = map(int, (Step.RATIO, Step.PRODUCT, Step.DIFFERENCE, Step.SUM))
_LOGARITHM, _ROOT, _COUNT, _LOOKUP = map(int, (Step.LOGARITHM, Step.ROOT, Step.COUNT, Step.LOOKUP))
_PART, _FILL, _CENTRE, _STRETCH = map(int, (Step.PART, Step.FILL, Step.CENTRE, Step.STRETCH))
_YEAR, _QUARTER, _MONTH, _WEEK = map(int, (Part.YEAR, Part.QUARTER, Part.MONTH, Part.WEEK))
_DAY, _DAY_OF_YEAR, _WEEKDAY = map(int, (Part.DAY, Part.DAY_OF_YEAR, Part.WEEKDAY))
_IS_WEEKEND, _HOUR, _MINUTE = map(int, (Part.IS_WEEKEND, Part.HOUR, Part.MINUTE))


@machine_code
def make_features(program: Any, values: Any, features: Any) -> None:
    """Write the features of each row.

    Args:
        program: What is done, in order, int64 `(n_steps, 6)` as `STEP_FIELDS` names them; what the steps
            know, float64; and how many places they take.
        values: What was read, `(n_rows, n_values)`.
        features: Written, `(n_rows, n_features)`.
    """
    steps, constants, room = program
    places = np.empty(room)
    first = room - features.shape[1]
    for row in range(len(values)):
        for place in range(values.shape[1]):
            places[place] = _in_range(values[row, place])
        for number in range(len(steps)):
            _make_step(steps[number], constants, places)
        for feature in range(features.shape[1]):
            number = places[first + feature]
            features[row, feature] = min(max(number, -LARGEST), LARGEST) if number == number else number  # noqa: PLR0124


@machine_code
def _make_step(step: Any, constants: Any, places: Any) -> None:
    kind, out, x, at, width = step[0], step[1], places[step[2]], step[4], step[5]
    if kind == _LOOKUP:
        _look_up(constants[at:], x, places[out : out + width])
    elif kind == _FILL:
        places[out] = constants[at] if np.isnan(x) else x
    elif kind == _CENTRE:
        places[out] = (x - constants[at]) / constants[at + 1]
    elif kind == _STRETCH:
        places[out] = x * constants[at] + constants[at + 1]
    elif kind == _COUNT:
        places[out] = _counted(x, constants[at : at + 2 * width + 1], width)
    elif kind == _PART:
        places[out] = _part(step[3], x, places[step[2] + 1])
    elif kind in {_LOGARITHM, _ROOT}:
        size = math.log1p(abs(x)) if kind == _LOGARITHM else math.sqrt(abs(x))
        places[out] = math.copysign(size, x)
    else:
        places[out] = _in_range(_combined(kind, x, places[step[3]]))


@machine_code
def _look_up(table: Any, row: float, written: Any) -> None:
    first = -1 if np.isnan(row) else np.int64(row) * len(written)
    is_there = 0 <= first <= len(table) - len(written)
    for each in range(len(written)):
        written[each] = table[first + each] if is_there else np.nan


@machine_code
def _in_range(number: float) -> float:
    return np.nan if abs(number) > LARGEST else number


@machine_code
def _combined(kind: int, x: float, y: float) -> float:
    if kind == _RATIO:
        return np.nan if y == 0 else x / y
    if kind == _PRODUCT:
        return x * y
    return x - y if kind == _DIFFERENCE else x + y


@machine_code
def _counted(x: float, counts: Any, width: int) -> float:
    if np.isnan(x):
        return float(counts[2 * width])
    at = np.searchsorted(counts[:width], x)
    return float(counts[width + at]) if at < width and counts[at] == x else 0.0


@machine_code
def _part(part: int, days: float, microseconds: float) -> float:
    if np.isnan(days):
        return np.nan
    weekday = (days + 3.0) % 7.0  # 1970-01-01 was a Thursday
    if part == _WEEKDAY:
        return weekday
    if part == _IS_WEEKEND:
        return 1.0 if weekday >= _SATURDAY else 0.0
    if part == _HOUR:
        return microseconds // _MICROSECONDS_PER_HOUR
    if part == _MINUTE:
        return microseconds % _MICROSECONDS_PER_HOUR // _MICROSECONDS_PER_MINUTE
    return float(_calendar_part(part, np.int64(days), np.int64(weekday)))


@machine_code
def _calendar_part(part: int, days: int, weekday: int) -> float:
    year, month, day = _civil(days)
    if part == _YEAR:
        return float(year)
    if part == _QUARTER:
        return float((month + 2) // 3)
    if part == _MONTH:
        return float(month)
    if part == _DAY:
        return float(day)
    if part == _DAY_OF_YEAR:
        return float(days - _first_day(year) + 1)
    # The week of the ISO calendar is that of its Thursday.
    thursday = days - weekday + 3
    week: float = (thursday - _first_day(_civil(thursday)[0])) // 7 + 1.0
    return week


@machine_code
def _civil(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a number of days since 1970-01-01 in the Gregorian calendar.

    Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013), civil_from_days.
    """
    shifted = days + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * of_year + 2) // 153
    day = of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9  # noqa: PLR2004
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)  # noqa: PLR2004 (January and February)
    return year, month, day


@machine_code
def _first_day(year: int) -> int:
    """Return the day since 1970-01-01 on which a year begins."""
    before = year - 1
    return before * 365 + before // 4 - before // 100 + before // 400 - 719_162
