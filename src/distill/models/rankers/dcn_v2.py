"""DCN v2: a cross network and an MLP, in parallel or stacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from distill.batch import Batch, RankerOutput
from distill.errors import ConfigError
from distill.features import SequencePooling
from distill.layers.cross import CrossNetV2
from distill.layers.mlp import MLP
from distill.models.heads import TaskHeads
from distill.models.rankers.base import PairEncoder, Ranker
from distill.schema import Schema


class DCNV2(Ranker):
    """Scores pairs by explicit crosses of all fields beside an MLP.

    Args:
        schema: Prepared schema.
        embedding_dim: Width of fields that do not name their own.
        embedding_std: Standard deviation of the initial embeddings.
        num_cross_layers: Layers of the cross network.
        cross_rank: Rank of the cross matrices; full if not given.
        hidden_units: Widths of the MLP.
        structure: `parallel` (both read the fields, outputs side by side) or `stacked` (the MLP reads the crosses).
        dropout: Of the MLP.
        sequence: How sequence fields are encoded.

    Reference: Wang et al., "DCN V2", 2021, arXiv:2008.13535, section 3.
    """

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int,
        embedding_std: float,
        num_cross_layers: int,
        cross_rank: int | None,
        hidden_units: Sequence[int],
        structure: Literal["parallel", "stacked"],
        dropout: float,
        sequence: SequencePooling,
    ) -> None:
        super().__init__()
        if structure not in ("parallel", "stacked"):
            raise ConfigError("Unknown structure of DCN v2.", expected="parallel or stacked", found=str(structure))
        self.structure = structure
        self.encoder = PairEncoder(schema, embedding_dim, embedding_std, sequence)
        width = self.encoder.out_features
        self.cross = CrossNetV2(width, num_cross_layers, cross_rank)
        self.mlp = MLP(width, hidden_units, dropout=dropout)
        parallel = structure == "parallel"
        self.heads = TaskHeads(self.mlp.out_features + (width if parallel else 0), len(schema.tasks))

    def forward(self, batch: Batch) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `mlp [N, hidden_units[-1]]`."""
        x = self.encoder(batch)
        crossed = self.cross(x)
        hidden = self.mlp(x if self.structure == "parallel" else crossed)
        top = torch.cat([crossed, hidden], dim=1) if self.structure == "parallel" else hidden
        return RankerOutput(self.heads(top), {"mlp": hidden})
