"""Tables of the report, written from tables alone."""
