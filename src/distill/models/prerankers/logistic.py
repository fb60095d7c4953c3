"""Logistic regression as a pre-ranker (generation 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.batch import FeatureBlock, RankerOutput
from distill.models.linear import linear_sides
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Schema
from distill.serving.manifest import Interaction


class Logistic(SplitPreRanker):
    """z_k = request part + item part + cross part + b_k: an item stores one number per task.

    Args:
        schema: Serving view of a prepared schema.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.request, self.candidate, self.cross = linear_sides(schema)
        self.bias = nn.Parameter(torch.zeros(len(schema.tasks)))

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns the request's part of the logits `[R, K]`."""
        part: Tensor = self.request(block)
        return part

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns the item's part of the logits `[N, K]`."""
        part: Tensor = self.candidate(block)
        return part

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]`."""
        return RankerOutput(request.index_select(0, request_index) + candidate + self.cross(cross) + self.bias, {})

    def closed_form(self) -> Interaction | None:
        """A sum, unless there are cross fields."""
        if self.cross.encoder.out_features:
            return None
        return Interaction(type="sum", bias=tuple(self.bias.tolist()))
