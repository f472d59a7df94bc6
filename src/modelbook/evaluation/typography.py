"""Numbers, times and sizes as people read them in a report."""

import math
from datetime import datetime

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EN DASH}"
_WHOLE_FROM = 1_000
_MINUTE_S = 60
_HOUR_S = 3_600
_KILO = 1_000


def number(value: float | None) -> str:
    """Return a number: whole with separators from 1,000 on, four significant digits below, a dash for none.

    Example:
        >>> number(48677.2), number(0.812345), number(None) == ABSENT
        ('48,677', '0.8123', True)
    """
    if value is None or math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.4g}"
    return text.replace("-", MINUS)


def cell(value: object) -> str:
    """Return any value as a cell of a table shows it: numbers as `number` has them, nothing as a dash.

    Example:
        >>> cell(0.81234567), cell("forest"), cell(None) == ABSENT
        ('0.8123', 'forest', True)
    """
    if value is None or isinstance(value, float):
        return number(value)
    return moment(value) if isinstance(value, datetime) else str(value)


def signed(value: float | None) -> str:
    """Return a difference with its sign.

    Example:
        >>> signed(12.0), signed(1234.5), signed(0.0)
        ('+12', '+1,234', '±0')
    """
    if value is None or math.isnan(value):
        return ABSENT
    if value == 0:
        return "±0"
    return f"+{number(value)}" if value > 0 else number(value)


def spread(value: float) -> str:
    """Return a standard deviation, which says nothing beyond two digits.

    Example:
        >>> spread(0.006244), spread(1142.3), spread(41.7)
        ('0.0062', '1,142', '42')
    """
    return number(float(f"{value:.2g}")) if abs(value) < _WHOLE_FROM else number(value)


def share(part: float, whole: float) -> str:
    """Return a part of a whole in percent.

    Example:
        >>> share(207, 20640), share(0, 10), share(1, 100000)
        ('1.0%', '0%', '<0.1%')
    """
    if not whole:
        return ABSENT
    percent = 100 * part / whole
    if 0 < percent < 0.1:  # noqa: PLR2004 (what one decimal can show)
        return "<0.1%"
    return f"{percent:.1f}%" if percent % 100 else f"{percent:.0f}%"


def duration(seconds: float) -> str:
    """Return a length of time.

    Example:
        >>> duration(3.14), duration(125), duration(7300)
        ('3.1 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"


def moment(time: datetime) -> str:
    """Return a point in time to the minute, with its zone.

    Example:
        >>> moment(datetime.fromisoformat("2026-11-21T09:05:07+01:00"))
        '21 November 2026, 09:05 UTC+01:00'
    """
    return f"{time.day} {time:%B %Y, %H:%M %Z}".rstrip()


def size(size_bytes: int) -> str:
    """Return a file size in decimal units.

    Example:
        >>> size(512), size(96_300_000)
        ('512 B', '96.3 MB')
    """
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < _KILO:
            return f"{amount:.3g} {unit}"
        amount /= _KILO
    return f"{amount:.3g} GB"
