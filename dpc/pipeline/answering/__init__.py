"""`python -m dpc answer`: new questions, without gold, answered under the plans of a finished cell."""
