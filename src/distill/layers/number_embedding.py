"""Embeddings of numbers: a vector for each number of a row, so that it takes part in crossing as an id does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_OUTSIDE = 1e6  # further than any number lies outside the first and the last bin


class PiecewiseLinearEmbedding(nn.Module):
    """e_f = b_f + Σ_t W_{f,t} z_t: continuous and piecewise linear in the number.

    z_t is the share of bin t of T that lies below the number: 0 below the bin (but for t = 1), 1 above it (but for
    t = T), else (x − b_{t−1}) / (b_t − b_{t−1}). Of the place u = t − 1 + z_t of a number in its bin t (see
    `FittedNumber`) that is u − (t − 1), kept in 0..1; in the first bin it may be below 0, in the last one above 1.

    Args:
        bins: Name of each of the F numbers to its T.
        embedding_dim: D.
        init_std: Deviation of b, and about that of Σ_t W_t z_t in the middle of the range.

    Reference: Gorishniy, Rubachev, Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS
    2022, arXiv:2203.05556: z is their piecewise linear encoding, the linear layer of each number that for models that
    want a vector a number; bins are quantiles of the training split, Q-L there. The initial weights are ours.
    """

    def __init__(self, bins: Mapping[str, int], embedding_dim: int, init_std: float) -> None:
        super().__init__()
        self._keys = [f"of_{name}" for name in bins]
        self._most = most = max(bins.values())
        weights = {
            key: nn.Parameter(torch.randn(count, embedding_dim) * (init_std * math.sqrt(2 / count)))
            for key, count in zip(self._keys, bins.values(), strict=True)
        }
        self.weights = nn.ParameterDict(weights)
        self.biases = nn.ParameterDict({k: nn.Parameter(torch.randn(embedding_dim) * init_std) for k in self._keys})
        low, high = torch.zeros(len(bins), most), torch.ones(len(bins), most)
        low[:, 0] = -_OUTSIDE
        for row, count in enumerate(bins.values()):
            high[row, count - 1 :] = 0.0  # bins that there are not
            high[row, count - 1] = _OUTSIDE
        self.register_buffer("_begin", torch.arange(most, dtype=torch.float32), persistent=False)
        self.register_buffer("_low", low, persistent=False)
        self.register_buffer("_high", high, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Embeds places `[B, F]` as `[B, F, D]`."""
        z = x.unsqueeze(2) - self.get_buffer("_begin")
        z = torch.minimum(torch.maximum(z, self.get_buffer("_low")), self.get_buffer("_high"))
        padded = [functional.pad(w, (0, 0, 0, self._most - w.shape[0])) for w in _all(self.weights, self._keys)]
        embedded = torch.bmm(z.transpose(0, 1), torch.stack(padded)).transpose(0, 1)
        return embedded + torch.stack(_all(self.biases, self._keys))


class AutoDisEmbedding(nn.Module):
    """e_f = softmax(x̃ / τ) · ME_f with h = LeakyReLU(w_f x) and x̃ = W_f h + α h: a soft choice of H meta-embeddings.

    Deviations from the paper: numbers are standardised rather than scaled to 0..1, and the temperature τ is fixed, not
    computed for each number. The slope of the leaky ReLU is torch's, 0.01.

    Args:
        names: Of the F numbers.
        buckets: H.
        embedding_dim: D.
        init_std: Deviation of the meta-embeddings.
        temperature: τ.
        skip: α.

    Reference: Guo, Chen, Tang, Zhang, Li, He, "An Embedding Learning Framework for Numerical Features in CTR
    Prediction", KDD 2021, arXiv:2012.08986, section 3.2.
    """

    def __init__(
        self, names: Sequence[str], buckets: int, embedding_dim: int, init_std: float, temperature: float, skip: float
    ) -> None:
        super().__init__()
        self._keys = [f"of_{name}" for name in names]
        self._temperature, self._skip = temperature, skip
        bound = 1 / math.sqrt(buckets)

        def each(*shape: int, bound: float) -> nn.ParameterDict:
            return nn.ParameterDict({k: nn.Parameter((2 * torch.rand(shape) - 1) * bound) for k in self._keys})

        self.first = each(buckets, bound=1.0)
        self.projection = each(buckets, buckets, bound=bound)
        drawn = {k: nn.Parameter(torch.randn(buckets, embedding_dim) * init_std) for k in self._keys}
        self.meta = nn.ParameterDict(drawn)

    def forward(self, x: Tensor) -> Tensor:
        """Embeds numbers `[B, F]` as `[B, F, D]`."""
        first, projection, meta = (torch.stack(_all(p, self._keys)) for p in (self.first, self.projection, self.meta))
        hidden = functional.leaky_relu(x.unsqueeze(2) * first).transpose(0, 1)
        logits = torch.bmm(hidden, projection) + self._skip * hidden
        return torch.bmm((logits / self._temperature).softmax(2), meta).transpose(0, 1)


def _all(parameters: nn.ParameterDict, keys: Sequence[str]) -> list[Tensor]:
    return [parameters[key] for key in keys]
