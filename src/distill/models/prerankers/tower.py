"""A tower: the fields of one side → body → one or more vectors per row."""

from __future__ import annotations

from torch import Tensor, nn

from distill.batch import FeatureBlock
from distill.features import Features, SideEncoder
from distill.models.bodies.base import BodyFactory
from distill.schema import Side


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
        return self.vectors(self.encoder(block))

    def vectors(self, x: Tensor) -> Tensor:
        """Maps encoded fields `x [B, ΣD]` to `[B, num_vectors, vector_dim]`."""
        vectors: Tensor = self.project(self.body(x))
        return vectors.view(-1, *self._shape)


def side_encoders(features: Features) -> tuple[SideEncoder, SideEncoder]:
    """Returns the encoders of the request and of the candidate side, over tables of their own.

    Args:
        features: Fields of a serving view; their sequences are encoded whatever the candidate.
    """
    tables = features.build_tables()
    request, candidate = (
        SideEncoder(features.schema, side, tables, features.sequence) for side in (Side.REQUEST, Side.CANDIDATE)
    )
    return request, candidate
