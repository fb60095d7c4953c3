"""Transformer encoder over ragged sequences; padded only inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.errors import ConfigError
from distill.layers.ragged import pad_values


class TransformerLayer(nn.Module):
    """x ← x + SelfAttention(norm(x)); x ← x + W_2 relu(W_1 norm(x) + b_1) + b_2 (pre-norm).

    Args:
        width: Width D of a position.
        num_heads: Heads of the attention; divides `width`.
        dropout: Of both branches.

    Reference: Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3; pre-norm as in Xiong et
    al., "On Layer Normalization in the Transformer Architecture", 2020, arXiv:2002.04745.
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(
                "The heads of the attention do not divide the width of the sequence.",
                expected=f"a divisor of {width}",
                found=f"num_heads={num_heads}",
            )
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(width)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.norm_forward = nn.LayerNorm(width)
        self.forward_net = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Maps `x [B, L, D]` to `[B, L, D]`; `mask [B, 1, 1, L]` is true where there is a value."""
        batch, length, width = x.shape
        heads = self.project_in(self.norm_attention(x)).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.dropout(self.project_out(attended.transpose(1, 2).reshape(batch, length, width)))
        out: Tensor = x + self.dropout(self.forward_net(self.norm_forward(x)))
        return out


class TransformerEncoder(nn.Module):
    """Encodes each sequence by Transformer layers over its values and their positions, and averages the result.

    Every value sees every other of its sequence (no causal mask); padding is never seen. Positions count from the
    newest value, which stands last.

    Args:
        width: Width D of a value.
        num_layers: Number of layers.
        num_heads: Heads of each.
        dropout: Of each.
        max_length: Older values than the newest `max_length` share the position of the oldest of these.

    Reference: as in Chen et al., "Behavior Sequence Transformer", 2019, arXiv:1905.06874, section 2.2; the target item
    is one of the values, or none. Deviations: normalised before each branch and at the end, not after each branch; ReLU
    instead of LeakyReLU; positions by place instead of by age in time; the outputs are averaged, not put side by side.
    """

    def __init__(self, width: int, num_layers: int, num_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.position = nn.Parameter(torch.randn(max_length, width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(width, num_heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor, lengths: Tensor, longest: int | None = None) -> Tensor:
        """Encodes B sequences.

        Args:
            values: Of all sequences, oldest first `[sum(lengths), D]`, or padded `[B, L, D]`.
            lengths: `[B]`.
            longest: No sequence is longer; the greatest length if None.

        Returns:
            `[B, D]`; 0 for an empty sequence.
        """
        x, is_full = (values, False) if values.dim() == 3 else pad_values(values, lengths, longest)
        place = torch.arange(x.shape[1], device=values.device)
        present = place < lengths.unsqueeze(1)
        # An empty sequence attends to its padding: what comes of it is dropped below.
        mask = None if is_full else (present | (lengths == 0).unsqueeze(1))[:, None, None, :]
        age = (lengths.unsqueeze(1) - 1 - place).clamp(0, self.max_length - 1)
        x = x + functional.embedding(age, self.position)
        for layer in self.layers:
            x = layer(x, mask)
        total = (self.norm(x) * present.unsqueeze(2)).sum(1)
        mean: Tensor = total / lengths.clamp(min=1).unsqueeze(1)
        return mean
