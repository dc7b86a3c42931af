import unittest
from datetime import date

from library.loans import Loan
from library.report import overdue


class Report(unittest.TestCase):
    def test_the_latest_comes_first(self):
        loans = [
            Loan("Dune", "Grace", date(2026, 3, 4), short=True),
            Loan("Emma", "Ada", date(2026, 3, 2), short=True),
            Loan("Ulysses", "Alan", date(2026, 3, 5)),
        ]
        self.assertEqual(overdue(loans, date(2026, 3, 12)), [
            "2026-03-09 Emma (Ada): 0.60",
            "2026-03-11 Dune (Grace): 0.20",
        ])
