"""Loans and when they are due."""

from dataclasses import dataclass
from datetime import date, timedelta

from library.opening import CLOSED_WEEKDAYS, HOLIDAYS

LOAN_DAYS = 21
SHORT_LOAN_DAYS = 7


@dataclass(frozen=True)
class Loan:
    """A book that someone has at home."""

    title: str
    borrower: str
    lent: date
    short: bool = False

    @property
    def due(self) -> date:
        """The last day on which the book is not late: the first open day when the loan's time is over."""
        day = self.lent + timedelta(days=SHORT_LOAN_DAYS if self.short else LOAN_DAYS)
        while day.weekday() in CLOSED_WEEKDAYS or day in HOLIDAYS:
            day += timedelta(days=1)
        return day
