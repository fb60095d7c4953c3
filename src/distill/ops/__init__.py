"""Tensor operations over ragged requests."""
