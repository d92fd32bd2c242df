"""Statistics that know nothing of this study: intervals, pooled inference, power, verdicts, chance."""
