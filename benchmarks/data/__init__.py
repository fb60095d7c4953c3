"""Seeded generators of data sets of a chosen size and shape, with something to learn in them."""

from benchmarks.data.flat import FlatBenchmark
from benchmarks.data.requests import RequestBenchmark
from benchmarks.data.search import SearchBenchmark

__all__ = ["FlatBenchmark", "RequestBenchmark", "SearchBenchmark"]
