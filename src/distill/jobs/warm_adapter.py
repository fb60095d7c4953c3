"""The adapter of a stale teacher goes on from where it was the day before."""

from __future__ import annotations

from pathlib import Path

import torch

from distill.jobs.parts import load_model
from distill.losses import CompositeLoss
from distill.schema import Schema
from distill.serving.manifest import is_bundle
from distill.training.checkpoint_io import read_checkpoint

_PREFIX = "loss.adapter."


@torch.no_grad()
def warm_adapter(loss: CompositeLoss, schema: Schema, checkpoint: Path) -> list[str]:
    """Gives the adapter of a loss, if it has one, the weights of a checkpoint's adapter, if they fit.

    They fit if both are of the same tasks and shapes.

    Args:
        loss: Set up for the schema.
        schema: Of the tasks.
        checkpoint: That the student begins with.

    Returns:
        A line that says what happened; none without an adapter.
    """
    adapter = loss.adapter
    if adapter is None:
        return []
    state = {} if is_bundle(checkpoint) else read_checkpoint(checkpoint).get("state_dict", {})
    found = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    own = adapter.state_dict()
    same = {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in own.items()}
    if not same or load_model(checkpoint).schema.task_names != schema.task_names:
        return [f"the adapter of its teacher begins anew: {checkpoint} has none of these tasks and shapes."]
    adapter.load_state_dict(found)
    return [f"the adapter of its teacher goes on from {checkpoint}."]
