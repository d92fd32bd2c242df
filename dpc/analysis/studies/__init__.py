"""The analyses: one file per question the report answers."""
