"""Threats, attacks, bounds, robust losses."""
