"""COLD: a small online network over all fields, with a gate that says which groups of fields matter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.batch import Batch, RankerOutput
from distill.features import Features
from distill.layers.group_gate import GroupGate
from distill.layers.mlp import MLP
from distill.models.heads import TaskHeads
from distill.models.prerankers.base import SplitPreRanker
from distill.models.prerankers.gated_parts import GatedParts, SummedParts, can_be_taken_apart
from distill.models.prerankers.grouped import GatedPreRanker, GroupedFields, Groups


class Cold(GatedPreRanker):
    """z_k = w_k·MLP([s_1 e_1 … s_M e_M]) + b_k with the gate s = σ(W [e_1 … e_M] + b) over groups of fields.

    Everything is computed online, cross fields included; the request side once per request. The gate is there to find
    the groups worth their cost: `scripts/select_fields.py` reads it and writes an experiment with the best of them.

    Args:
        features: Fields of a serving view.
        fields: Names of the fields that are read; all if not given.
        groups: Group name to its fields; each of the other fields is a group alone.
        gate: Whether there is a gate; without one, every s_i is 1.
        compress: Whether numbers and vectors go through linear_log, which keeps them within half precision.
        hidden_units: Widths of the MLP.
        dropout: Of the MLP.

    Reference: Wang et al., "COLD: Towards the Next Generation of Pre-Ranking System", 2020, arXiv:2007.16122.
    """

    def __init__(
        self,
        features: Features,
        fields: Sequence[str] | None,
        groups: Groups | None,
        gate: bool,
        compress: bool,
        hidden_units: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.fields = GroupedFields(features, fields, groups, compress)
        self.gate = GroupGate(self.fields.widths) if gate else None
        self.mlp = MLP(self.fields.out_features, hidden_units, dropout=dropout)
        self.heads = TaskHeads(self.mlp.out_features, features.num_tasks)

    def forward(self, batch: Batch) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `mlp [N, hidden_units[-1]]`."""
        x = self.fields(batch)
        hidden = self.mlp(x if self.gate is None else self.gate(x))
        return RankerOutput(self.heads(hidden), {"mlp": hidden})

    def in_parts(self) -> SplitPreRanker | None:
        """Returns what is served: see `gated_parts`. None if a sequence is encoded in view of the candidate."""
        if not can_be_taken_apart(self.fields, self.mlp):
            return None
        if self.gate is None:
            return SummedParts(self.fields, self.mlp, self.heads, None)
        return GatedParts(self.fields, self.gate, self.mlp, self.heads)

    def group_weights(self, batch: Batch) -> Tensor:
        """Returns s for each candidate `[N, M]`; 1 without a gate."""
        x: Tensor = self.fields(batch)
        return torch.ones(x.shape[0], len(self.fields.widths)) if self.gate is None else self.gate.weights(x)
