"""Read formulas and say whether they are the same answer."""
