"""COLD and FSCD as they are served: taken apart by side, with the logits of the model as it was trained.

The first layer of both reads a row of groups of fields, W [s_1 e_1 … s_M e_M] + b, which is a sum over groups, and so
over the sides of a pair. Where the weights s are the same for all pairs (FSCD, or no gate), the sums of the request's
and of the candidate's fields are vectors that are computed ahead. Where a gate reads the pair (COLD), the embeddings of
a candidate and its share of the gate are; and of one request W_m e_m is computed once for each group m of its fields,
so that a candidate costs one product of the weights s with these instead of one with the whole row.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.batch import FeatureBlock, RankerOutput
from distill.features import SideEncoder
from distill.layers.group_gate import GroupGate
from distill.layers.mlp import MLP
from distill.models.heads import TaskHeads
from distill.models.prerankers.base import SinglePreRanker, SplitPreRanker
from distill.models.prerankers.grouped import GroupedFields, PickedColumns


class _SideRows(nn.Module):
    """The part of a grouped row that one side has.

    Args:
        selection: Leaves out the fields of the side that the model does not read.
        encoder: Of the side.
        fields: Of the model.

    Attributes:
        columns: Of the grouped row `[D]`.
    """

    def __init__(self, selection: nn.Module, encoder: SideEncoder, fields: GroupedFields) -> None:
        super().__init__()
        layout = encoder.layout
        names = [name for name in fields.order if name in layout.widths]
        self.selection, self.encoder = selection, encoder
        self.picked = PickedColumns(layout, names, fields.compress)
        self.columns = fields.encoder.layout.select(fields.order).columns(names)

    def forward(self, block: FeatureBlock) -> Tensor:
        """Returns `[B, D]`."""
        row: Tensor = self.picked(self.encoder(self.selection(block)))
        return row


class GroupedParts(SplitPreRanker):
    """The sides of a model that reads grouped fields, and what follows its first layer.

    Args:
        fields: Of the model as it was trained; its weights are shared.
        mlp: Of the model, with one hidden layer at least.
        heads: Of the model.
    """

    precomputable = frozenset({"request", "candidate"})

    def __init__(self, fields: GroupedFields, mlp: MLP, heads: TaskHeads) -> None:
        super().__init__()
        self.heads = heads
        encoder, selection = fields.encoder, fields.selection
        self.request = _SideRows(selection.request, encoder.request, fields)
        self.candidate = _SideRows(selection.candidate, encoder.candidate, fields)
        self.cross = _SideRows(selection.cross, encoder.cross, fields)
        self.has_cross = len(self.cross.columns) > 0
        first = mlp.blocks[0]
        assert isinstance(first, nn.Sequential)
        linear, self.after_first, self.rest = first[0], first[1:], mlp.blocks[1:]
        assert isinstance(linear, nn.Linear)
        self.register_buffer("bias", linear.bias.detach(), persistent=False)
        for name, side in self.sides.items():
            self.register_buffer(f"weight_{name}", linear.weight.detach()[:, side.columns].clone(), persistent=False)

    @property
    def sides(self) -> Mapping[str, _SideRows]:
        """The rows of each side."""
        return {"request": self.request, "candidate": self.candidate, "cross": self.cross}

    def first(self, name: str, row: Tensor) -> Tensor:
        """Returns what the first layer makes of a side's row `[B, D]`, without its bias `[B, H]`."""
        return nn.functional.linear(row, self.get_buffer(f"weight_{name}"))

    def finish(self, hidden: Tensor) -> Tensor:
        """Returns the logits `[N, K]` for the first layer's sums `[N, H]`."""
        hidden = self.after_first(hidden)
        for block in self.rest:
            hidden = block(hidden)
        logits: Tensor = self.heads(hidden)
        return logits


class SummedParts(GroupedParts):
    """z = rest(r + c + W_x x): the first layer's sums of the request's and of the candidate's fields are vectors.

    Args:
        fields: See `GroupedParts`.
        mlp: See `GroupedParts`.
        heads: See `GroupedParts`.
        scales: Weight of each column of a grouped row `[ΣD]`; 1 if not given.
    """

    def __init__(self, fields: GroupedFields, mlp: MLP, heads: TaskHeads, scales: Tensor | None) -> None:
        super().__init__(fields, mlp, heads)
        if scales is not None:
            for name, side in self.sides.items():
                self.get_buffer(f"weight_{name}").mul_(scales.detach()[side.columns])

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns the sums of the request's fields and the bias `[R, H]`."""
        return self.first("request", self.request(block)) + self.get_buffer("bias")

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns the sums of the candidate's fields `[N, H]`."""
        return self.first("candidate", self.candidate(block))

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]`."""
        hidden = request.index_select(0, request_index) + candidate
        if self.has_cross:
            hidden = hidden + self.first("cross", self.cross(cross))
        return RankerOutput(self.finish(hidden), {})


class GatedParts(GroupedParts, SinglePreRanker):
    """z = rest(Σ_m s_m W_m e_m + b), s = σ(g_r + g_c + g_x) with a share of the gate from each side.

    Args:
        fields: See `GroupedParts`.
        gate: Of the model.
        mlp: See `GroupedParts`.
        heads: See `GroupedParts`.
    """

    def __init__(self, fields: GroupedFields, gate: GroupGate, mlp: MLP, heads: TaskHeads) -> None:
        super().__init__(fields, mlp, heads)
        linear, group_of = gate.gate, gate.get_buffer("_field")
        self.register_buffer("gate_bias", linear.bias.detach(), persistent=False)
        for name, side in self.sides.items():
            self.register_buffer(f"gate_{name}", linear.weight.detach()[:, side.columns].clone(), persistent=False)
            self.register_buffer(f"groups_{name}", group_of[side.columns], persistent=False)
        groups = self.get_buffer("groups_request")
        of_request = torch.unique(groups)
        self.register_buffer("request_groups", of_request, persistent=False)
        self.register_buffer("request_members", (of_request[:, None] == groups).float(), persistent=False)
        self._width = len(self.candidate.columns)

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns the row of the request's fields `[R, D_r]`."""
        row: Tensor = self.request(block)
        return row

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns the row of the candidate's fields, and their share of the gate `[N, D_c + M]`."""
        row: Tensor = self.candidate(block)
        return torch.cat([row, self._share("candidate", row)], dim=1)

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]`."""
        share = (self._share("request", request) + self.get_buffer("gate_bias")).index_select(0, request_index)
        gate, rows, weights = self._of_pairs(candidate, cross, share)
        rows.append(request.index_select(0, request_index) * self._spread("request", gate))
        weights.append(self.get_buffer("weight_request"))
        return RankerOutput(self._finished(rows, weights), {})

    def interact_single(self, request: Tensor, candidate: Tensor, cross: FeatureBlock) -> Tensor:
        """Returns logits `[N, K]` of the candidates of one request."""
        share = self._share("request", request) + self.get_buffer("gate_bias")
        gate, rows, weights = self._of_pairs(candidate, cross, share)
        rows.append(gate.index_select(1, self.get_buffer("request_groups")))
        weights.append(self.first("request", request * self.get_buffer("request_members")).T)
        return self._finished(rows, weights)

    def _of_pairs(
        self, candidate: Tensor, cross: FeatureBlock, share: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Returns all weights s `[N, M]`, and of the sides of a pair the weighted rows with the weights of the first
        layer that they meet."""
        row, share = candidate[:, : self._width], candidate[:, self._width :] + share
        sides = {"candidate": row}
        if self.has_cross:
            sides["cross"] = self.cross(cross)
            share = share + self._share("cross", sides["cross"])
        gate = share.sigmoid()
        rows = [x * self._spread(name, gate) for name, x in sides.items()]
        return gate, rows, [self.get_buffer(f"weight_{name}") for name in sides]

    def _finished(self, rows: list[Tensor], weights: list[Tensor]) -> Tensor:
        """Returns the logits: one product of all rows side by side."""
        hidden = nn.functional.linear(torch.cat(rows, dim=1), torch.cat(weights, dim=1), self.get_buffer("bias"))
        return self.finish(hidden)

    def _share(self, name: str, row: Tensor) -> Tensor:
        return nn.functional.linear(row, self.get_buffer(f"gate_{name}"))

    def _spread(self, name: str, gate: Tensor) -> Tensor:
        """Returns the weight of each column of a side's rows."""
        return gate.index_select(1, self.get_buffer(f"groups_{name}"))


def can_be_taken_apart(fields: GroupedFields, mlp: MLP) -> bool:
    """Whether sides are encoded alone, and there is a first layer."""
    return not fields.encoder.sees_candidate and len(mlp.blocks) > 0 and not mlp.residual
