"""Summaries of runs as tests need them."""

from __future__ import annotations

from typing import Any

from distill.reports.summary import Summary


def run_of(
    metrics: dict[str, dict[str, float]] | dict[str, float],
    seed: int = 0,
    config: str = "a",
    data: str = "d",
    **more: Any,
) -> Summary:
    """A summary; of metrics without roles, that of a plain model."""
    roles: Any = metrics if any(isinstance(v, dict) for v in metrics.values()) else {"model": metrics}
    parts = dict.fromkeys(roles, 1)
    return Summary(
        name=config,
        seed=seed,
        metrics=roles,
        gap_recovered=more.pop("gap_recovered", {}),
        differences=more.pop("differences", {}),
        parameters=parts,
        seconds=dict.fromkeys(roles, 1.0),
        steps=parts,
        cached=[],
        config_hash=config,
        dataset=data,
        **more,
    )
