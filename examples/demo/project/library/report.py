"""What the desk prints in the morning."""

from collections.abc import Iterable
from datetime import date

from library.fines import fine
from library.loans import Loan


def overdue(loans: Iterable[Loan], today: date) -> list[str]:
    """One line for each book that is late, the latest first."""
    late = sorted((loan for loan in loans if loan.due < today), key=lambda loan: loan.due)
    return [f"{loan.due} {loan.title} ({loan.borrower}): {fine(loan, today) / 100:.2f}" for loan in late]
