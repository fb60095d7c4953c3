"""Compressed interaction network: explicit interactions of fields, vector by vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.activation import Activation, make_activation
from distill.layers.checks import check_layers
from distill.layers.fields import common_width, require_fields
from distill.layers.initial import xavier_uniform_


class CIN(nn.Module):
    """Layers X^k_h = g(Σ_ij W^{k,h}_ij (X^{k−1}_i ⊙ X^0_j)); the output holds the sum over D of every kept map.

    W has no bias and starts Xavier-uniform, which the paper leaves open.

    Args:
        widths: Field name to width; all D.
        layer_sizes: Maps H_k of each layer.
        split_half: Whether the first half of the maps of each layer but the last goes on to the next layer only, and
            the second half to the output only; else all maps do both.
        activation: g; `identity` in the paper's equation.

    Reference: Lian et al., "xDeepFM", 2018, arXiv:1803.05170, eq. 6 to 8; the halves are those of the authors' code.
    """

    def __init__(
        self, widths: Mapping[str, int], layer_sizes: Sequence[int], split_half: bool, activation: Activation
    ) -> None:
        super().__init__()
        require_fields("CIN", widths, 1)
        self.num_fields, self.width = len(widths), common_width("CIN", widths)
        _check_layers(layer_sizes, split_half)
        last = len(layer_sizes) - 1
        # As many maps go on to the next layer as go to the output.
        self._kept = [size // 2 if split_half and k < last else size for k, size in enumerate(layer_sizes)]
        self.out_features = sum(self._kept)
        self.activation = make_activation(activation)
        self.weights = nn.ParameterList()
        maps = self.num_fields
        for size, kept in zip(layer_sizes, self._kept, strict=True):
            weight = nn.Parameter(torch.empty(size, maps * self.num_fields))
            xavier_uniform_(weight, weight.shape[1], weight.shape[0])
            self.weights.append(weight)
            maps = kept

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, F·D]` to `[B, out_features]`: the kept maps of layer 1, layer 2, ….

        Each of the D positions of a row is a row of one large matrix product, which is faster than a small product
        per row.
        """
        fields = torch.unflatten(x, 1, (self.num_fields, self.width)).transpose(1, 2).flatten(0, 1)
        maps, outputs = fields, []
        for weight, kept in zip(self.weights, self._kept, strict=True):
            products = torch.bmm(maps.unsqueeze(2), fields.unsqueeze(1)).flatten(1)
            produced = self.activation(products @ weight.t())
            outputs.append(torch.unflatten(produced[:, -kept:], 0, (x.shape[0], self.width)).sum(1))
            maps = produced[:, :kept]
        return torch.cat(outputs, dim=1)


def _check_layers(layer_sizes: Sequence[int], split_half: bool) -> None:
    check_layers("CIN", "layer_sizes", layer_sizes)
    if split_half and any(size % 2 for size in layer_sizes[:-1]):
        raise ConfigError(
            "CIN cannot halve its maps.",
            where="layer_sizes",
            expected="even sizes, but for the last layer",
            found=str(list(layer_sizes)),
        )
