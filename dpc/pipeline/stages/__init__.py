"""One file per stage, with the name of its rule: read tables, call the rooms below, write tables."""
