import unittest
from datetime import date

from library.fines import fine, late_days
from library.loans import Loan

LOAN = Loan("Emma", "Ada", date(2026, 3, 3))  # due on Tuesday, 24 March


class Fines(unittest.TestCase):
    def test_nothing_on_the_last_day(self):
        self.assertEqual(fine(LOAN, date(2026, 3, 24)), 0)

    def test_each_day_counts(self):
        self.assertEqual(fine(LOAN, date(2026, 3, 27)), 60)

    def test_sundays_do_not_count(self):
        self.assertEqual(late_days(LOAN, date(2026, 3, 30)), 5)

    def test_there_is_an_upper_limit(self):
        self.assertEqual(fine(LOAN, date(2026, 12, 1)), 1000)
