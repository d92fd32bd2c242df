"""Attention calibration (ACT)."""
