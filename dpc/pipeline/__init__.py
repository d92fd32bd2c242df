"""What runs the study: command line, stages, cost, checks."""
