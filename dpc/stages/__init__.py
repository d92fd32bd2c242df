"""One file per stage: read tables, call the rooms below, write a table."""
