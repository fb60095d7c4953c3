"""Bilinear interaction of every pair of fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.fields import common_width, require_fields
from distill.layers.initial import xavier_uniform_

BilinearKind = Literal["field_all", "field_each", "field_interaction"]


class BilinearInteraction(nn.Module):
    """p_ij = (e_i W) ⊙ e_j for i < j, with one W for all pairs, one per field i or one per pair.

    Fields may have different widths under `field_interaction`, where W_ij is D_i × D_j. Weights start Xavier-uniform;
    the paper leaves it open.

    Args:
        widths: Field name to width D_i, in the order of the columns.
        kind: `field_all` (W), `field_each` (W_i) or `field_interaction` (W_ij).

    Reference: Huang et al., "FiBiNET", 2019, arXiv:1905.09433, eq. 5 to 7.
    """

    def __init__(self, widths: Mapping[str, int], kind: BilinearKind) -> None:
        super().__init__()
        name = f"BilinearInteraction ({kind})"
        require_fields(name, widths, 2)
        self.kind, self.widths = kind, list(widths.values())
        self.num_fields = len(widths)
        self.out_features = sum(j * width for j, width in enumerate(self.widths))
        if kind == "field_interaction":
            shapes = [(width, sum(self.widths[i + 1 :])) for i, width in enumerate(self.widths[:-1])]
            self.weights = nn.ParameterList(torch.empty(shape) for shape in shapes)
            for i, weight in enumerate(self.weights):
                for block in weight.split(self.widths[i + 1 :], dim=1):
                    xavier_uniform_(block, block.shape[0], block.shape[1])
        elif kind in ("field_all", "field_each"):
            width = common_width(name, widths)
            self.weight = nn.Parameter(torch.empty(1 if kind == "field_all" else self.num_fields - 1, width, width))
            xavier_uniform_(self.weight, width, width)
        else:
            raise ConfigError(
                "Unknown bilinear interaction.",
                expected="field_all, field_each or field_interaction",
                found=str(kind),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, Σ_{i<j} D_j]`, p_12, p_13, …, p_23, ….

        The later fields are split off one after another: the gradient of a row is then written once per field, not
        once per pair.
        """
        return self._by_pair(x) if self.kind == "field_interaction" else self._by_field(x)

    def _by_field(self, x: Tensor) -> Tensor:
        later = torch.unflatten(x, 1, (self.num_fields, -1))
        first = later[:, :-1]
        left = first @ self.weight[0] if self.kind == "field_all" else torch.einsum("bfi,fio->bfo", first, self.weight)
        pairs = []
        for own in left.unbind(1):
            _, later = later.split_with_sizes([1, later.shape[1] - 1], dim=1)
            pairs.append(own.unsqueeze(1) * later)
        return torch.cat(pairs, dim=1).flatten(1)

    def _by_pair(self, x: Tensor) -> Tensor:
        pairs, later = [], x
        for weight in self.weights:
            own, later = later.split_with_sizes(list(weight.shape), dim=1)
            pairs.append((own @ weight) * later)
        return torch.cat(pairs, dim=1)
