"""A synthetic cascade whose true utility is known, for the quickstart, tests and scale runs."""

from distill.data.funnel.source import FunnelSource

__all__ = ["FunnelSource"]
