"""What it costs to bring a book back late."""

from datetime import date, timedelta

from library.loans import Loan
from library.opening import is_open

CENTS_PER_DAY = 20
MOST_CENTS = 1000


def late_days(loan: Loan, returned: date) -> int:
    """Open days after the due date, up to the day of return."""
    days = (returned - loan.due).days
    return sum(is_open(loan.due + timedelta(days=offset)) for offset in range(1, days + 1))


def fine(loan: Loan, returned: date) -> int:
    """The fine in cents."""
    return min(late_days(loan, returned) * CENTS_PER_DAY, MOST_CENTS)
