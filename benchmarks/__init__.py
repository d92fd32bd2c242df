"""What a study costs, measured against what one would otherwise use. Each script prints one line of JSON."""
