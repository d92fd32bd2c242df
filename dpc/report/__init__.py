"""Figures, tables and captions, from tables alone."""
