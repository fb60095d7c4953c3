"""The gate of COLD over groups of fields."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from distill.layers.fields import field_of_column, require_fields


class GroupGate(nn.Module):
    """v_i = s_i e_i with s = sigmoid(W [e_1 … e_M] + b): the weight of a group is read from all of all groups.

    W starts Xavier-uniform and b at 0, so that every weight starts near a half; the paper leaves it open.

    Args:
        widths: Group name to width, in the order of the columns.

    Reference: Wang et al., "COLD: Towards the Next Generation of Pre-Ranking System", 2020, arXiv:2007.16122, eq. 3.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        require_fields("GroupGate", widths, 1)
        self.out_features = sum(widths.values())
        self.gate = nn.Linear(self.out_features, len(widths))
        nn.init.xavier_uniform_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.register_buffer("_field", field_of_column(widths), persistent=False)

    def weights(self, x: Tensor) -> Tensor:
        """Returns the weight of each group `[B, M]`, in 0..1, for `x [B, ΣD]`."""
        weights: Tensor = self.gate(x).sigmoid()
        return weights

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, ΣD]`."""
        return x * self.weights(x).index_select(1, self.get_buffer("_field"))
