"""Dates and times in text: which of the usual ways of writing them a column uses, and how it is read."""

import polars as pl

from modelbook.data.tables import column

_TIMES = ("", " %H:%M", " %H:%M:%S%.f")
_ZONED = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z")
_ISO = (*(f"%Y-%m-%d{time}" for time in _TIMES), *_ZONED)
_OTHER_DATES = ("%Y/%m/%d", "%d.%m.%Y", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%Y%m%d")
_OTHERS = tuple(f"{date}{time}" for date in _OTHER_DATES for time in _TIMES)
_DAY_FIRST = tuple(f"%d/%m/%Y{time}" for time in _TIMES)
_MONTH_FIRST = tuple(f"%m/%d/%Y{time}" for time in _TIMES)
_SLASHED = r"^(\d{1,2})/(\d{1,2})/\d{4}"
_FIRST_YEAR = 1000
_MONTHS = 12
DATETIME = pl.Datetime("us")


def date_formats(table: pl.LazyFrame, name: str) -> tuple[str, ...]:
    """Return the formats that a text column of dates is read with: those that occur in it.

    ISO 8601 is always read, with or without a time and an offset. Of the other ways of writing a date, those
    with slashes are read only if the column itself shows whether the day or the month comes first: a value
    like 25/3/2021 among them, and none that contradicts it. Nothing is guessed.

    Args:
        table: The table.
        name: The text column.

    Example:
        >>> table = pl.LazyFrame({"sold": ["2021-03-25", "25/3/2021", "4/3/2021"]})
        >>> dates = read_dates("sold", date_formats(table, "sold"))
        >>> table.select(dates.dt.strftime("%d %B")).collect()["sold"].to_list()
        ['25 March', '25 March', '04 March']
    """
    text = _text(name)
    first, second = (text.str.extract(_SLASHED, group).cast(pl.Int64) for group in (1, 2))
    unread = table.filter(text.is_not_null() & read_dates(name, _ISO).is_null())
    found = unread.select(
        *(_parsed(text, form).is_not_null().any().alias(form) for form in _OTHERS),
        first.max().fill_null(0).alias("first"),
        second.max().fill_null(0).alias("second"),
    ).collect(engine="streaming")
    others = tuple(form for form in _OTHERS if found[form].item())
    return (*_ISO, *others, *_slashed(found["first"].item(), found["second"].item()))


def read_dates(name: str, formats: tuple[str, ...]) -> pl.Expr:
    """Return the values of a text column as datetimes (µs), null where no format fits.

    A time with an offset is turned into UTC; one without is taken as it stands.

    Args:
        name: The text column.
        formats: What `date_formats` found.
    """
    text = _text(name)
    value = pl.coalesce(_parsed(text, form) for form in formats)
    return pl.when(value.dt.year() >= _FIRST_YEAR).then(value).alias(name)


def _slashed(first: int, second: int) -> tuple[str, ...]:
    if first > _MONTHS >= second:
        return _DAY_FIRST
    if second > _MONTHS >= first:
        return _MONTH_FIRST
    return ()


def _text(name: str) -> pl.Expr:
    bare = column(name).cast(pl.String).str.strip_chars()
    return bare.str.replace(r"^(\d{4}-\d\d?-\d\d?)[Tt]", "${1} ")


def _parsed(text: pl.Expr, form: str) -> pl.Expr:
    value = text.str.to_datetime(form, time_unit="us", strict=False)
    return value.dt.replace_time_zone(None) if form in _ZONED else value
