"""Rankers (teachers): score (request, candidate) pairs jointly, with all fields."""
