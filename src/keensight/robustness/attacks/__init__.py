"""Attacks, in one table."""
