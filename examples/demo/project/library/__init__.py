"""Loans, due dates and fines of a small library."""
