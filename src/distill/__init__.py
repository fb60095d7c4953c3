"""Train a cheap pre-ranker (student) to agree with an expensive ranker (teacher)."""

__version__ = "0.1.0"
