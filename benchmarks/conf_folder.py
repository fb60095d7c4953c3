"""Where the configs of benchmarks are, and how to compose with them."""

from __future__ import annotations

from pathlib import Path

CONF = Path(__file__).resolve().parent / "conf"
WITH_BENCHMARKS = f"hydra.searchpath=[file://{CONF}]"
"""An override that lets other configs choose data=benchmark_flat and data=benchmark_requests."""
