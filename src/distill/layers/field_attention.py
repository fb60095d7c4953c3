"""Multi-head self-attention over the fields of a row, as in AutoInt."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.layers.checks import check_sizes
from distill.layers.fields import common_width, require_fields
from distill.layers.initial import xavier_uniform_


class FieldAttentionLayer(nn.Module):
    """ê_m = relu([Σ_k α^1_mk W^1_V e_k … Σ_k α^H_mk W^H_V e_k] + W_res e_m), heads side by side.

    α^h_m = softmax_k(⟨W^h_Q e_m, W^h_K e_k⟩ / √d).

    Args:
        in_features: Width D of a field.
        num_heads: H.
        head_dim: d; a field leaves with width H·d.
        residual: Whether W_res e_m is added.
    """

    def __init__(self, in_features: int, num_heads: int, head_dim: int, residual: bool) -> None:
        super().__init__()
        self.num_heads, self.out_features = num_heads, num_heads * head_dim
        self.project = nn.Parameter(torch.empty(in_features, 3 * self.out_features))
        xavier_uniform_(self.project, in_features, head_dim)
        self.residual = nn.Linear(in_features, self.out_features, bias=False) if residual else None
        if self.residual is not None:
            nn.init.xavier_uniform_(self.residual.weight)

    def weights(self, fields: Tensor) -> Tensor:
        """Returns α `[B, H, F, F]`, from field m (rows) to field k (columns), for `fields [B, F, D]`."""
        query, key, _ = self._heads(fields)
        return functional.softmax(query @ key.transpose(2, 3) / math.sqrt(query.shape[3]), dim=3)

    def forward(self, fields: Tensor) -> Tensor:
        """Maps `fields [B, F, D]` to `[B, F, H·d]`."""
        query, key, value = self._heads(fields)
        attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return functional.relu(attended if self.residual is None else attended + self.residual(fields))

    def _heads(self, fields: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        projected = torch.unflatten(fields @ self.project, 2, (3, self.num_heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value


class FieldAttention(nn.Module):
    """Layers of multi-head self-attention, in which every field reads from every field.

    Scores are divided by √d, which AutoInt does not do. No biases; weights start Xavier-uniform, each head by its own
    shape, which the paper leaves open.

    Args:
        widths: Field name to width; all D.
        num_layers: Number of layers.
        num_heads: Heads of each.
        head_dim: Width d of a head.
        residual: Whether each layer adds a projection of its input.

    Reference: Song et al., "AutoInt", 2019, arXiv:1810.11921, eq. 5 to 8.
    """

    def __init__(
        self, widths: Mapping[str, int], num_layers: int, num_heads: int, head_dim: int, residual: bool
    ) -> None:
        super().__init__()
        require_fields("FieldAttention", widths, 1)
        check_sizes("FieldAttention", {"num_layers": num_layers, "num_heads": num_heads, "head_dim": head_dim})
        self.num_fields, self.width = len(widths), common_width("FieldAttention", widths)
        inputs = [self.width] + [num_heads * head_dim] * (num_layers - 1)
        self.layers = nn.ModuleList(FieldAttentionLayer(width, num_heads, head_dim, residual) for width in inputs)
        self.out_features = self.num_fields * num_heads * head_dim

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, F·D]` to `[B, F·H·d]`."""
        fields = torch.unflatten(x, 1, (self.num_fields, self.width))
        for layer in self.layers:
            fields = layer(fields)
        return fields.flatten(1)
