"""Slurm: questions asked of it, resuming, causes of failures, loading torch early."""
