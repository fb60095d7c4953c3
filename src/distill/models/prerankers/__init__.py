"""Pre-rankers (students): cheap scorers that say what can be precomputed."""
