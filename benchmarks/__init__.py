"""Measures this package against bare loops and the libraries below it."""
