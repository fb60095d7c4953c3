"""What a checkpoint of a student holds of a frozen teacher that runs in the step: nothing, and it is there again on
resume."""

from __future__ import annotations

import torch
from torch import nn

from distill.signals.checkpoint import CheckpointSignals


class _Trained(nn.Module):
    def __init__(self, source: CheckpointSignals) -> None:
        super().__init__()
        self.model = nn.Linear(3, 1)
        self.signals = source


def test_a_frozen_teacher_stays_out_of_the_checkpoint_and_comes_back() -> None:
    source = CheckpointSignals(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    trained = _Trained(source)
    state = trained.state_dict()
    alone = source.standalone_state(state, trained.model)
    assert sorted(alone) == ["model.bias", "model.weight"]
    whole = source.whole_state(alone, trained.model)
    assert sorted(whole) == sorted(state)
    trained.load_state_dict(whole)  # strict: nothing is missing
    assert all(torch.equal(whole[name], state[name]) for name in state)
