"""Seeded generators of data sets of a chosen size and shape, with something to learn in them."""

from distill.benchmark.data.flat import FlatBenchmark
from distill.benchmark.data.requests import RequestBenchmark

__all__ = ["FlatBenchmark", "RequestBenchmark"]
