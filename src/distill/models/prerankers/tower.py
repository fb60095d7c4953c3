"""A tower: the fields of one side → body → one or more vectors per row."""

from __future__ import annotations

from torch import Tensor, nn

from distill.batch import FeatureBlock
from distill.features import SideEncoder
from distill.models.bodies.base import BodyFactory


class Tower(nn.Module):
    """Fields of one side → body → linear → `num_vectors` vectors.

    Args:
        encoder: Embeds the side.
        body: Builds the body from the side's fields.
        num_vectors: How many vectors per row.
        vector_dim: Width of a vector.
    """

    def __init__(self, encoder: SideEncoder, body: BodyFactory, num_vectors: int, vector_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.body = body(encoder.layout)
        self.project = nn.Linear(self.body.out_features, num_vectors * vector_dim)
        self._shape = (num_vectors, vector_dim)

    def forward(self, block: FeatureBlock) -> Tensor:
        """Returns `[B, num_vectors, vector_dim]`."""
        return self.from_fields(self.encoder(block))

    def from_fields(self, x: Tensor) -> Tensor:
        """Maps encoded fields `[B, ΣD]` to `[B, num_vectors, vector_dim]`."""
        vectors: Tensor = self.project(self.body(x))
        return vectors.view(-1, *self._shape)
