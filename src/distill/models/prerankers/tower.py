"""A tower: the fields of one side → body → one or more vectors per row."""

from __future__ import annotations

from torch import Tensor, nn

from distill.batch import FeatureBlock
from distill.features import SequenceEncoding, SideEncoder, build_tables
from distill.models.bodies.base import BodyFactory
from distill.schema import Schema, Side


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
        vectors: Tensor = self.project(self.body(self.encoder(block)))
        return vectors.view(-1, *self._shape)


def side_encoders(
    schema: Schema, embedding_dim: int, embedding_std: float, sequence: SequenceEncoding
) -> tuple[SideEncoder, SideEncoder]:
    """Returns the encoders of the request and of the candidate side, over tables of their own.

    Args:
        schema: Serving view of a prepared schema.
        embedding_dim: Width of fields that do not name their own.
        embedding_std: Standard deviation of the initial embeddings.
        sequence: How sequence fields are encoded, whatever the candidate.
    """
    tables = build_tables(schema, embedding_dim, embedding_std)
    return (
        SideEncoder(schema, Side.REQUEST, tables, sequence),
        SideEncoder(schema, Side.CANDIDATE, tables, sequence),
    )
