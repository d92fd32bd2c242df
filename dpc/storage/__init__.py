"""Files: table schemas, checked reads and atomic writes, stores of finished rows, locks, the hub, model files."""
