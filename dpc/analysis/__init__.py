"""Numbers only: flow readings, statistics, thresholds, the study, evaluation. Imports no torch."""
