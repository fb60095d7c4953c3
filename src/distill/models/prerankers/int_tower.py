"""IntTower: gated towers whose layers and heads meet in many small inner products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.batch import Batch, FeatureBlock, Penalty, RankerOutput
from distill.features import Features, SideEncoder
from distill.layers.checks import check_layers, check_sizes
from distill.layers.light_se import LightSE
from distill.layers.mlp import MLP
from distill.models.prerankers.base import SplitPreRanker
from distill.models.prerankers.tower import side_encoders
from distill.ops.ranks import rows_of_all_ranks, world_size
from distill.ops.waiting import places


class IntTower(SplitPreRanker):
    """z_k = s_k·Σ_l Σ_h max_{h'} u_{k,l,h}·v_{k,h'} + b_k over the layers l and heads h of the request tower.

    Every layer of the request tower is projected to H heads for each task, of the item tower only the last. In training
    a penalty `contrast` draws the pooled vectors of positive pairs together: InfoNCE with temperature τ, the mean of
    -log softmax_j(cos(u_i, v_j) / τ)_i over rows i with a positive label of the first task, by their weights. Pairs and
    candidates j are the rows that the log labelled, of all processes together, whatever the loss acts on; an equal item
    of another row counts as another.

    Args:
        features: Fields of a serving view; their sequences are encoded whatever the candidate.
        hidden_units: Widths of the layers of both towers.
        num_heads: H.
        vector_dim: Width of a head.
        dropout: Of the towers.
        contrast_weight: Weight of the penalty; 0 switches it off.
        contrast_temperature: τ.

    Reference: Li et al., "IntTower: the Next Generation of Two-Tower Model for Pre-Ranking System", CIKM 2022,
    arXiv:2210.09890, section 3. Deviations: one set of heads for each task; s_k and b_k are learned; the heads of
    the request read the outputs of its layers (in the authors' code their inputs, so that the first heads read the
    gated fields and none the last layer); the gate weighs all fields, numbers too; the contrast takes the first task's
    last-layer heads, averaged.
    """

    def __init__(
        self,
        features: Features,
        hidden_units: Sequence[int],
        num_heads: int,
        vector_dim: int,
        dropout: float,
        contrast_weight: float,
        contrast_temperature: float,
    ) -> None:
        super().__init__()
        check_layers("IntTower", "hidden_units", hidden_units)
        check_sizes("IntTower", {"num_heads": num_heads, "vector_dim": vector_dim})
        num_tasks = features.num_tasks
        request, candidate = side_encoders(features)
        shape = (num_tasks, num_heads, vector_dim)
        self.request_tower = _LayeredTower(request, hidden_units, range(len(hidden_units)), shape, dropout)
        self.candidate_tower = _LayeredTower(candidate, hidden_units, [len(hidden_units) - 1], shape, dropout)
        scale = 1.0 / (len(hidden_units) * num_heads * vector_dim**0.5)
        self.log_scale = nn.Parameter(torch.full((num_tasks,), scale).log())
        self.bias = nn.Parameter(torch.zeros(num_tasks))
        self.contrast_weight, self.contrast_temperature = contrast_weight, contrast_temperature

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns `[R, L, K, H, vector_dim]`."""
        heads: Tensor = self.request_tower(block)
        return heads

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, K, H, vector_dim]`."""
        heads: Tensor = self.candidate_tower(block)
        return heads.squeeze(1)

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request [N, L·K·H·D]`, `candidate [N, K·H·D]`."""
        expanded = request.index_select(0, request_index)
        products = torch.einsum("nlkhd,nkgd->nlkhg", expanded, candidate)
        logits = products.amax(4).sum((1, 3)) * self.log_scale.exp() + self.bias
        return RankerOutput(logits, {"request": expanded.flatten(1), "candidate": candidate.flatten(1)})

    def forward(self, batch: Batch) -> RankerOutput:
        """Scores the candidates of a batch; in training with the penalty `contrast`."""
        request, candidate = self.encode_request(batch.request), self.encode_candidate(batch.candidate)
        output = self.interact(request, candidate, batch.cross, batch.request_index)
        if not self.training or self.contrast_weight == 0:
            return output
        with torch.autocast(batch.weight.device.type, enabled=False):
            contrast = self._contrast(batch, request[:, -1, 0].float().mean(1), candidate[:, 0].float().mean(1))
        return RankerOutput(output.logits, output.hidden, {"contrast": contrast})

    @property
    def penalises_rows(self) -> bool:
        """Whether training adds a penalty over labelled rows."""
        return self.contrast_weight != 0

    def _contrast(self, batch: Batch, request: Tensor, candidate: Tensor) -> Penalty:
        labelled = batch.labelled
        among = places(labelled.any(dim=1), exact=world_size() > 1)
        items, start = rows_of_all_ranks(functional.normalize(candidate.index_select(0, among.rows), dim=1))
        weight = among.keep((batch.weight * labelled[:, 0] * batch.labels[:, 0]).index_select(0, among.rows))
        positive = places(weight != 0)
        chosen = positive.keep(weight.index_select(0, positive.rows))
        pairs = batch.request_index.index_select(0, among.rows.index_select(0, positive.rows))
        u = functional.normalize(request, dim=1).index_select(0, pairs)
        scores = u @ items.T / self.contrast_temperature
        if among.real is not None:
            scores = scores.masked_fill(~among.real, -torch.inf)
        losses = positive.keep(functional.cross_entropy(scores, positive.rows + start, reduction="none"))
        return Penalty(self.contrast_weight * (losses * chosen).sum(), chosen.sum())


class _LayeredTower(nn.Module):
    """Fields → gate → layers; the outputs of some layers, projected to heads `[B, L, K, H, D]`."""

    def __init__(
        self,
        encoder: SideEncoder,
        hidden_units: Sequence[int],
        taken: Sequence[int],
        shape: tuple[int, int, int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoder, self.gate = encoder, LightSE(encoder.layout.widths)
        inputs = [encoder.out_features, *hidden_units[:-1]]
        self.layers = nn.ModuleList(
            MLP(before, [units], dropout=dropout) for before, units in zip(inputs, hidden_units, strict=True)
        )
        self._taken, self._shape = frozenset(taken), shape
        width = shape[0] * shape[1] * shape[2]
        self.heads = nn.ModuleList(nn.Linear(hidden_units[i], width) for i in taken)

    def forward(self, block: FeatureBlock) -> Tensor:
        x = self.gate(self.encoder(block))
        outputs = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in self._taken:
                outputs.append(x)
        heads = [head(output).view(-1, *self._shape) for head, output in zip(self.heads, outputs, strict=True)]
        return torch.stack(heads, dim=1)
