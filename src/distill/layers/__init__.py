"""Blocks from tensors to tensors, one idea a file."""
