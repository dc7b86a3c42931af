"""When the library is open."""

from datetime import date

# Days of the week as ISO counts them: Monday is 1, Sunday is 7.
CLOSED_WEEKDAYS = frozenset({7})

HOLIDAYS = frozenset({
    date(2026, 1, 1),
    date(2026, 5, 1),
    date(2026, 12, 25),
    date(2026, 12, 26),
})


def is_open(day: date) -> bool:
    """Whether books can be brought back on this day."""
    return day.isoweekday() not in CLOSED_WEEKDAYS and day not in HOLIDAYS
