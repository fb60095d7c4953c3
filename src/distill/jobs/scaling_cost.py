"""What models cost online, measured in turns: a machine that is busy for a while slows all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.jobs.parts import load_model
from distill.jobs.planned_folder import read_measured
from distill.models.cost import measure_cost
from distill.sealed import write_sealed

_TURNS, _SECONDS = 5, 0.15

Costs = Mapping[str, Mapping[str, float]]
"""Model to what it costs by name (`distill.models.cost.Cost`)."""


def costs_in_turns(models: Mapping[str, Path], path: Path) -> Costs:
    """Measures what models cost, in an order that turns around each time, and keeps the least of the turns: other
    programs only add to a time.

    Args:
        models: Name to checkpoint.
        path: File of what is measured. If it holds the same models it is read instead.

    Raises:
        DataError: The file is damaged.
    """
    if path.exists():
        found = read_measured(path, _models, "What models cost", "costs are measured again")
        if set(found) == set(models):
            return found
    loaded = {name: load_model(checkpoint) for name, checkpoint in models.items()}
    turns: dict[str, list[Mapping[str, float]]] = {name: [] for name in models}
    for turn in range(_TURNS):
        for name in list(models)[:: -1 if turn % 2 else 1]:
            turns[name].append(measure_cost(loaded[name].model, loaded[name].schema, _SECONDS).as_numbers())
    costs = {name: {key: min(one[key] for one in own) for key in own[0]} for name, own in turns.items()}
    write_sealed(path, {"models": costs})
    return costs


def _models(content: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {name: {key: float(value) for key, value in own.items()} for name, own in content["models"].items()}
