"""What a two-tower ends with: the similarity of two vectors, one per task, as a logit."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.errors import ConfigError

Kind = Literal["cosine", "dot"]
_INITIAL_COSINE_SCALE = 5.0


class Similarity(nn.Module):
    """z_k = cos(u_k, v_k)/τ_k + b_k, or with a dot product u_k·v_k/τ_k + b_k.

    1/τ_k is folded into the request's vector, so that item vectors are stored as they are compared.

    Args:
        kind: `cosine` or `dot`.
        num_tasks: K.
        vector_dim: Width of the vectors.
        temperature: τ, fixed; learned for each task if not given, from 0.2 for cosines and the square root of the
            width for dot products.

    Raises:
        ConfigError: The kind is unknown or the temperature not positive.

    Reference: Huang et al., "Learning Deep Structured Semantic Models", 2013, eq. 4 and 5; Yi et al.,
    "Sampling-Bias-Corrected Neural Modeling", 2019, section 3 (normalisation and temperature).
    """

    def __init__(self, kind: Kind, num_tasks: int, vector_dim: int, temperature: float | None) -> None:
        super().__init__()
        if kind not in ("cosine", "dot"):
            raise ConfigError("Unknown similarity.", expected="cosine or dot", found=str(kind))
        if temperature is not None and not temperature > 0:
            raise ConfigError("A temperature is positive.", where="temperature", found=str(temperature))
        self.kind = kind
        initial = _INITIAL_COSINE_SCALE if kind == "cosine" else 1.0 / math.sqrt(vector_dim)
        scale = initial if temperature is None else 1.0 / temperature
        log_scale = torch.full((num_tasks,), math.log(scale))
        if temperature is None:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self.bias = nn.Parameter(torch.zeros(num_tasks))

    def request(self, vectors: Tensor) -> Tensor:
        """Makes raw vectors `[…, K, D]` of requests comparable."""
        return self.candidate(vectors) * self.log_scale.exp().unsqueeze(1)

    def candidate(self, vectors: Tensor) -> Tensor:
        """Makes raw vectors `[…, K or 1, D]` of candidates comparable."""
        return functional.normalize(vectors, dim=-1) if self.kind == "cosine" else vectors

    def forward(self, request: Tensor, candidate: Tensor) -> Tensor:
        """Maps comparable vectors `[N, K, D]` and `[N, K or 1, D]` to logits `[N, K]`."""
        return (request * candidate).sum(-1) + self.bias
