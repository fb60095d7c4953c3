"""Attention of a candidate to the behaviour sequence of its request, with the choice to attend to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.layers.activation import Activation, make_activation
from distill.layers.checks import check_layers, check_sizes
from distill.layers.initial import xavier_uniform_
from distill.layers.mlp import MLP
from distill.layers.ragged import Pairs, pair_with_values, present_values
from distill.ops.segment import segment_max, segment_sum


class Attended(NamedTuple):
    """What candidates took from the sequences of their requests.

    Attributes:
        pooled: Weighted sum of the values `[N, D]`.
        zero_weight: Weight on the zero vector `[N]`: how irrelevant the sequence is; 1 if it is empty.
        weights: Weight of each value for each candidate, candidate by candidate `[P]`; with the candidate's
            `zero_weight` they sum to 1.
    """

    pooled: Tensor
    zero_weight: Tensor
    weights: Tensor


class TargetAttention(nn.Module):
    """Σ_i w_i h_i over the values h_1 … h_n of a sequence, with w = softmax(a(q, h_1) … a(q, h_n), a(q, 0)).

    The zero vector is a key like the values and adds nothing to the sum: weight on it is weight taken off a sequence
    that has nothing to do with the candidate. The score is a(q, h) = vᵀ MLP([q, h, q ⊙ h]); its first layer is three
    products, on each candidate, each value and each pair, so that only the last has the cost of all pairs.

    The values are stored once per request, without padding. The first layer starts Xavier-uniform, as one of 3·D
    inputs, with b = 0, the others as torch's Linear; the paper leaves it open.

    Args:
        width: Width D of a value and of a candidate's vector.
        hidden_units: Widths of the MLP.
        activation: Non-linearity of the MLP.

    Reference: Zhou et al., "Deep Interest Network", 2018, arXiv:1706.06978, eq. 3 and figure 2. Deviations: weights
    are a softmax, which DIN leaves out, since only then does a weight on the zero vector take weight off the values;
    the out product of q and h is their elementwise one.
    """

    def __init__(self, width: int, hidden_units: Sequence[int], activation: Activation) -> None:
        super().__init__()
        check_sizes("TargetAttention", {"width": width})
        check_layers("TargetAttention", "hidden_units", hidden_units)
        self.width, self.out_features = width, width
        self.from_query = nn.Linear(width, hidden_units[0])
        self.from_value = nn.Linear(width, hidden_units[0], bias=False)
        self.from_product = nn.Linear(width, hidden_units[0], bias=False)
        for part in (self.from_query, self.from_value, self.from_product):
            xavier_uniform_(part.weight, 3 * width, hidden_units[0])
        nn.init.zeros_(self.from_query.bias)
        rest = MLP(hidden_units[0], hidden_units[1:], activation=activation)
        self.score = nn.Sequential(make_activation(activation), rest, nn.Linear(hidden_units[-1], 1))

    def forward(
        self, query: Tensor, values: Tensor, lengths: Tensor, request_index: Tensor, most_pairs: int | None = None
    ) -> Attended:
        """Attends from N candidates to the sequences of R requests.

        Args:
            query: Vectors of the candidates `[N, D]`.
            values: Of all sequences, one after another `[sum(lengths), D]`, or padded `[R, L, D]`.
            lengths: `[R]` int64.
            request_index: Request of each candidate `[N]` int64, in any order.
            most_pairs: See `pair_with_values`.

        Returns:
            Weights are `[N, L]` if values are padded.
        """
        if values.dim() == 3:
            return self._padded(query, values, lengths, request_index)
        most = most_pairs if values.shape[0] else 0
        return self.over(query, values, pair_with_values(lengths, request_index, most))

    def over(self, query: Tensor, values: Tensor, pairs: Pairs) -> Attended:
        """Attends from N candidates `[N, D]` to some of the values `[sum(lengths), D]`; weights of no pair are 0."""
        own = self.from_query(query)
        of_value = self.from_value(values).index_select(0, pairs.value)
        product = query.index_select(0, pairs.candidate) * values.index_select(0, pairs.value)
        hidden = own.index_select(0, pairs.candidate) + of_value + self.from_product(product)
        # Weights of long sequences are small numbers, which half precision does not tell apart.
        exact = torch.promote_types(values.dtype, torch.float32)
        scores, zero_score = self.score(hidden).squeeze(1).to(exact), self.score(own).squeeze(1).to(exact)
        weights, zero_weight = _softmax_with_zero(scores, zero_score, pairs)
        # Sums rows of `values` in place, without a copy of them for every pair.
        shares = weights.to(values.dtype)
        pooled = functional.embedding_bag(pairs.value, values, pairs.starts, mode="sum", per_sample_weights=shares)
        return Attended(pooled, zero_weight, weights)

    def _padded(self, query: Tensor, values: Tensor, lengths: Tensor, request_index: Tensor) -> Attended:
        own = self.from_query(query)
        present = present_values(values, lengths).index_select(0, request_index)
        of_request = values.index_select(0, request_index)
        of_value = self.from_value(values).index_select(0, request_index)
        hidden = own.unsqueeze(1) + of_value + self.from_product(query.unsqueeze(1) * of_request)
        scores = self.score(hidden).squeeze(2).masked_fill(~present, float("-inf"))
        weights = torch.cat([scores, self.score(own)], dim=1).softmax(dim=1)
        shares, zero_weight = weights[:, :-1], weights[:, -1]
        return Attended((shares.unsqueeze(2) * of_request).sum(1), zero_weight, shares)


def _softmax_with_zero(scores: Tensor, zero_score: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    num_candidates = zero_score.shape[0]
    if pairs.real is not None:
        scores = scores.masked_fill(~pairs.real, float("-inf"))
    peak = torch.maximum(segment_max(scores.detach(), pairs.candidate, num_candidates), zero_score.detach())
    shifted, zero = (scores - peak.index_select(0, pairs.candidate)).exp(), (zero_score - peak).exp()
    total = segment_sum(shifted, pairs.candidate, num_candidates) + zero
    return shifted / total.index_select(0, pairs.candidate), zero / total
