import unittest
from datetime import date

from library.opening import is_open


class Opening(unittest.TestCase):
    def test_open_on_a_saturday(self):
        self.assertTrue(is_open(date(2026, 3, 7)))

    def test_closed_on_a_sunday(self):
        self.assertFalse(is_open(date(2026, 3, 8)))

    def test_closed_on_a_holiday(self):
        self.assertFalse(is_open(date(2026, 5, 1)))
