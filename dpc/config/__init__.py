"""Every key of `config.yaml`: its type, its meaning, the slice each stage gets, and what is said of mistakes."""
