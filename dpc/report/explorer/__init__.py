"""The explorer: one HTML page per cell that shows every case, and an index over the cells of a study."""
