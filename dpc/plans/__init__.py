"""Interventions: pure functions from readings to one row per question."""
