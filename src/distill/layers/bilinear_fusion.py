"""What two vectors say together: products of their parts under a matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.checks import check_sizes
from distill.layers.initial import xavier_uniform_


class BilinearFusion(nn.Module):
    """[o_1, o_2, (o_{1,1} W_1) ⊙ o_{2,1}, …, (o_{1,h} W_h) ⊙ o_{2,h}] with both vectors cut into h parts (heads).

    A linear head w behind it is the fusion of the paper, b + w_1ᵀ o_1 + w_2ᵀ o_2 + Σ_j o_{1,j}ᵀ W'_j o_{2,j}, with
    W'_j = W_j diag(w_{3,j}). Deviation: several tasks share W_j and have a w_{3,j} each, rather than a W'_j each.
    W_j starts Xavier-uniform.

    Args:
        first_features: Width of o_1.
        second_features: Width of o_2.
        num_heads: h.

    Raises:
        ConfigError: A width is not a multiple of the number of heads.

    Reference: Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", 2023, arXiv:2304.00902,
    section "Stream-Level Interaction Aggregation".
    """

    def __init__(self, first_features: int, second_features: int, num_heads: int) -> None:
        super().__init__()
        check_sizes("BilinearFusion", {"num_heads": num_heads, "first": first_features, "second": second_features})
        if first_features % num_heads or second_features % num_heads:
            raise ConfigError(
                "The number of heads of a bilinear fusion must divide both vectors.",
                where="num_heads",
                expected=f"a divisor of {first_features} and of {second_features}",
                found=str(num_heads),
            )
        self.num_heads = num_heads
        self.out_features = first_features + 2 * second_features
        parts = first_features // num_heads, second_features // num_heads
        self.weight = nn.Parameter(torch.empty(num_heads, *parts))
        xavier_uniform_(self.weight, *parts)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Maps `[B, first_features]` and `[B, second_features]` to `[B, out_features]`."""
        heads = torch.unflatten(first, 1, (self.num_heads, -1))
        mapped = torch.einsum("bhi,hio->bho", heads, self.weight).flatten(1)
        return torch.cat([first, second, mapped * second], dim=1)
