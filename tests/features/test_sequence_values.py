"""Vectors of a sequence are mapped to the width of a field, and read as the rows of a table are."""

from __future__ import annotations

import pytest
import torch

from distill.batch import FeatureBlock, Ragged
from distill.features import (
    EmbeddingTables,
    Features,
    MeanPooling,
    SideEncoder,
    TargetAttentionEncoding,
    TransformerPooling,
)
from distill.layers.ragged import pad_values
from distill.models.cost import random_batch
from distill.models.rankers.pair_encoder import PairEncoder
from distill.schema import FieldSpec, Kind, Schema, Side
from tests.batches import make_schema

PAST = FieldSpec(name="past", side=Side.REQUEST, kind=Kind.VECTORS, width=3, max_length=5)


@pytest.fixture
def schema() -> Schema:
    plain = make_schema()
    return plain.model_copy(update={"fields": (*plain.fields, PAST)})


def _encoded(encoder: SideEncoder, block: FeatureBlock) -> torch.Tensor:
    """The part of the encoded rows that is of the vectors."""
    start = encoder.layout.start("past")
    return encoder(block)[:, start : start + encoder.layout.widths["past"]]


def _with(block: FeatureBlock, past: Ragged) -> FeatureBlock:
    return FeatureBlock(block.ids, block.numbers, block.vectors, {**block.sequences, "past": past})


def test_the_mean_is_that_of_the_mapped_vectors_and_empty_is_zero(schema: Schema) -> None:
    encoder = SideEncoder(schema, Side.REQUEST, EmbeddingTables(schema, 4), MeanPooling())
    values = torch.tensor([[1.0, 2.0, 3.0], [3.0, 0.0, -1.0], [0.5, 0.5, 0.5]])
    block = _with(random_batch(schema, (1, 1, 1)).request, Ragged(values, torch.tensor([2, 0, 1])))
    found = _encoded(encoder, block)
    linear = encoder.sequence_values.maps["past"]
    torch.testing.assert_close(found[0], (linear(values[0]) + linear(values[1])) / 2)
    assert torch.equal(found[1], torch.zeros(4))
    torch.testing.assert_close(found[2], linear(values[2]))
    found.sum().backward()
    torch.testing.assert_close(linear.weight.grad, (values[:2].mean(0) + values[2]).expand(4, 3))


def test_a_field_may_name_its_width(schema: Schema) -> None:
    wide = schema.model_copy(
        update={"fields": tuple(f.model_copy(update={"embedding_dim": 7}) if f == PAST else f for f in schema.fields)}
    )
    encoder = SideEncoder(wide, Side.REQUEST, EmbeddingTables(wide, 4), MeanPooling())
    assert encoder.layout.widths["past"] == 7
    assert "past" not in encoder.layout.dense


def test_a_model_without_such_a_field_has_the_weights_that_it_had() -> None:
    plain = make_schema()
    encoder = SideEncoder(plain, Side.REQUEST, EmbeddingTables(plain, 4), MeanPooling())
    assert not list(encoder.sequence_values.state_dict())


@pytest.mark.parametrize("pooling", [MeanPooling(), TransformerPooling(1, 2, 0.0, 6)])
def test_padded_sequences_are_encoded_as_ragged_ones(schema: Schema, pooling: MeanPooling) -> None:
    encoder = SideEncoder(schema, Side.REQUEST, EmbeddingTables(schema, 4), pooling).eval()
    values, lengths = torch.randn(6, 3), torch.tensor([4, 0, 2])
    block = random_batch(schema, (1, 1, 1)).request
    history = block.sequences["history"]
    padded_history = Ragged(history.values.view(3, -1), history.lengths)
    found = _encoded(encoder, _with(block, Ragged(values, lengths)))
    padded = _with(block, Ragged(pad_values(values, lengths, None)[0], lengths))
    padded = FeatureBlock(padded.ids, padded.numbers, {}, {**padded.sequences, "history": padded_history})
    torch.testing.assert_close(_encoded(encoder, padded), found)
    assert found[0].abs().sum() > 0


def test_target_attention_reads_the_mapped_vectors(schema: Schema) -> None:
    sequence = TargetAttentionEncoding((8,), "relu")
    encoder = PairEncoder(Features(schema, 4, 0.05, sequence))
    batch = random_batch(schema, (2, 3))
    linear = encoder.sequence_values.maps["past"]
    encoded = encoder(batch)
    assert encoded.zero_weight.shape == (5, 2)
    ragged, candidate = batch.request.sequences["past"], encoder.candidate(batch.candidate)
    interest, _ = encoder.interests["past"](
        encoder.queries["past"](candidate), linear(ragged.values), ragged.lengths, batch.request_index
    )
    start = encoder.layout.start("past")
    torch.testing.assert_close(encoded.x[:, start : start + 4], interest)
    encoded.x.sum().backward()
    assert linear.weight.grad.abs().sum() > 0
