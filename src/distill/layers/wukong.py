"""WuKong's layers: second-order interactions of embeddings by a low-rank factorisation machine, stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from distill.layers.checks import check_sizes
from distill.layers.fields import common_width
from distill.layers.initial import xavier_uniform_
from distill.layers.mlp import MLP, Norm


class FactorizationBlock(nn.Module):
    """FMB(X) = W relu(… relu(W_1 LN(vec(X Xᵀ Y)) + b_1) …) + b, read as n_F embeddings of width D.

    X Xᵀ holds the dot products of all pairs of the n embeddings. Y `[n, rank]`, learned, keeps `rank` mixtures of each
    row, so that X (Xᵀ Y) costs n·D·rank and not n²·D. Y starts Xavier-uniform.

    Args:
        num_inputs: n.
        width: D.
        num_outputs: n_F.
        rank: Columns of Y.
        hidden_units: Widths of the MLP's hidden layers.
        norm: Normalisation of these.

    Reference: Zhang et al., "Wukong: Towards a Scaling Law for Large-Scale Recommendation", 2024, arXiv:2403.02545,
    sections 3.4 and 3.5. Deviation: Y is the same for all rows; the paper's Y that attends to the row is left out.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        num_outputs: int,
        rank: int,
        hidden_units: Sequence[int],
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        sizes = {"num_inputs": num_inputs, "width": width, "fm_embeddings": num_outputs, "rank": rank}
        check_sizes("FactorizationBlock", sizes)
        self.width, self.num_outputs = width, num_outputs
        self.project = nn.Parameter(torch.empty(num_inputs, rank))
        xavier_uniform_(self.project, num_inputs, rank)
        self.norm = nn.LayerNorm(num_inputs * rank)
        self.mlp = MLP(num_inputs * rank, hidden_units, norm=norm)
        self.out = nn.Linear(self.mlp.out_features, num_outputs * width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps embeddings `x [B, n, D]` to `[B, n_F, D]`."""
        mixed = x.transpose(1, 2) @ self.project
        hidden = self.mlp(self.norm((x @ mixed).flatten(1)))
        return torch.unflatten(self.out(hidden), 1, (self.num_outputs, self.width))


class LinearCompression(nn.Module):
    """LCB(X) = W X: each of the outputs is a mixture of the n embeddings. W `[m, n]` starts Xavier-uniform.

    Args:
        num_inputs: n.
        num_outputs: m.

    Reference: see `FactorizationBlock`; section 3.6.
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        check_sizes("LinearCompression", {"num_inputs": num_inputs, "num_outputs": num_outputs})
        self.weight = nn.Parameter(torch.empty(num_outputs, num_inputs))
        xavier_uniform_(self.weight, num_inputs, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps embeddings `x [B, n, D]` to `[B, m, D]`."""
        return self.weight @ x


class WuKongLayer(nn.Module):
    """X' = LN([FMB(X), LCB(X)] + X): n_F + n_L embeddings, each normalised over its D columns.

    Where X has another number of embeddings, a linear compression of it stands for it in the sum.

    Args:
        num_inputs: n.
        width: D.
        fm_embeddings: n_F.
        linear_embeddings: n_L; 0 leaves the linear compression out.
        rank: Of the factorisation machine.
        hidden_units: Hidden layers of its MLP.
        norm: Normalisation of these.

    Reference: see `FactorizationBlock`; section 3.3.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        fm_embeddings: int,
        linear_embeddings: int,
        rank: int,
        hidden_units: Sequence[int],
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.num_outputs = fm_embeddings + linear_embeddings
        self.fm = FactorizationBlock(num_inputs, width, fm_embeddings, rank, hidden_units, norm)
        self.linear = LinearCompression(num_inputs, linear_embeddings) if linear_embeddings else None
        same = num_inputs == self.num_outputs
        self.residual = nn.Identity() if same else LinearCompression(num_inputs, self.num_outputs)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps embeddings `x [B, n, D]` to `[B, n_F + n_L, D]`."""
        parts = [self.fm(x)] if self.linear is None else [self.fm(x), self.linear(x)]
        out: Tensor = self.norm(torch.cat(parts, dim=1) + self.residual(x))
        return out


class WuKongStack(nn.Module):
    """Layers of WuKong over fields of one width: layer l sees interactions of up to 2^l fields.

    Args:
        widths: Field name to width; all D.
        num_layers: Number of layers.
        fm_embeddings: n_F of each.
        linear_embeddings: n_L of each.
        rank: Of each factorisation machine.
        hidden_units: Hidden layers of the MLP in each.
        norm: Normalisation of these.

    Raises:
        ConfigError: The widths differ, or a size is below 1 (`linear_embeddings`: below 0).

    Reference: see `FactorizationBlock`; section 3.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        num_layers: int,
        fm_embeddings: int,
        linear_embeddings: int,
        rank: int,
        hidden_units: Sequence[int],
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.num_fields, self.width = len(widths), common_width("WuKong", widths)
        check_sizes("WuKong", {"num_layers": num_layers, "linear_embeddings": linear_embeddings + 1})
        counts = [self.num_fields] + [fm_embeddings + linear_embeddings] * (num_layers - 1)
        self.layers = nn.ModuleList(
            WuKongLayer(count, self.width, fm_embeddings, linear_embeddings, rank, hidden_units, norm)
            for count in counts
        )
        self.out_features = (fm_embeddings + linear_embeddings) * self.width

    def forward(self, x: Tensor) -> Tensor:
        """Maps fields side by side, `x [B, F·D]`, to `[B, (n_F + n_L)·D]`."""
        x = torch.unflatten(x, 1, (self.num_fields, self.width))
        for layer in self.layers:
            x = layer(x)
        return x.flatten(1)
