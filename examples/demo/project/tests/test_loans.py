import unittest
from datetime import date

from library.loans import Loan


class Due(unittest.TestCase):
    def test_three_weeks(self):
        self.assertEqual(Loan("Emma", "Ada", date(2026, 3, 3)).due, date(2026, 3, 24))

    def test_a_short_loan_is_one_week(self):
        self.assertEqual(Loan("Emma", "Ada", date(2026, 3, 3), short=True).due, date(2026, 3, 10))

    def test_a_loan_due_on_a_holiday(self):
        self.assertEqual(Loan("Dune", "Grace", date(2026, 4, 10)).due, date(2026, 5, 2))

    def test_a_loan_due_on_a_sunday(self):
        self.assertEqual(Loan("Ulysses", "Alan", date(2026, 3, 1), short=True).due, date(2026, 3, 9))
