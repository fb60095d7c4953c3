"""Parts of a model as modules of plain tensors, which is what exported programs take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock, Ragged
from distill.models.prerankers.base import SinglePreRanker, SplitPreRanker
from distill.schema import FieldSpec, Kind, Schema, Side
from distill.serving.inputs import (
    CANDIDATE,
    LOGITS,
    REQUEST,
    REQUEST_INDEX,
    ids_of,
    lengths_of,
    numbers_of,
    sequence_of,
    side_inputs,
    vectors_of,
)
from distill.serving.manifest import Part

_REQUESTS, _CANDIDATES = 3, 7
# Different sizes everywhere: sizes that agree by chance would be taken for the same one.
_LENGTHS = (5, 11, 13, 17, 19, 23, 29, 31)


@dataclass(frozen=True)
class Signature:
    """What a part takes and gives.

    Attributes:
        part: Which.
        inputs: Names of its tensors.
        output: Name of what it returns.
    """

    part: Part
    inputs: tuple[str, ...]
    output: str

    @classmethod
    def of(cls, part: Part, schema: Schema) -> Signature:
        """Returns the signature of a part.

        Args:
            part: Which.
            schema: The model's view of the schema.
        """
        sides = {side: side_inputs(schema.side(side), side) for side in Side}
        if part == "request":
            return cls(part, tuple(sides[Side.REQUEST]), REQUEST)
        if part == "candidate":
            return cls(part, tuple(sides[Side.CANDIDATE]), CANDIDATE)
        if part == "interact":
            return cls(part, (REQUEST, CANDIDATE, *sides[Side.CROSS], REQUEST_INDEX), LOGITS)
        if part == "single":
            return cls(part, (REQUEST, CANDIDATE, *sides[Side.CROSS]), LOGITS)
        return cls(part, (*(name for side in Side for name in sides[side]), REQUEST_INDEX), LOGITS)


class FlatPart(nn.Module):
    """A part of a model whose arguments are tensors, sequences padded.

    Args:
        model: In evaluation mode.
        schema: Its view of the schema.
        signature: Of the part.
    """

    def __init__(self, model: nn.Module, schema: Schema, signature: Signature) -> None:
        super().__init__()
        self.model = model
        self.schema = schema
        self.signature = signature

    def forward(self, *tensors: Tensor) -> Tensor:
        """Returns vectors of a side `[B, …]`, or logits `[N, K]`."""
        given = dict(zip(self.signature.inputs, tensors, strict=True))
        return run_part(self.model, self.schema, self.signature.part, given)


def run_part(model: nn.Module, schema: Schema, part: Part, given: Mapping[str, Tensor]) -> Tensor:
    """Returns vectors of a side `[B, …]`, or logits `[N, K]`.

    Args:
        model: In evaluation mode.
        schema: Its view of the schema.
        part: Which.
        given: Its inputs by name, more perhaps.
    """
    if part == "whole":
        logits: Tensor = model(_batch(schema, given)).logits
        return logits
    assert isinstance(model, SplitPreRanker)
    if part == "request":
        return model.encode_request(_block(schema, Side.REQUEST, given))
    if part == "candidate":
        return model.encode_candidate(_block(schema, Side.CANDIDATE, given))
    cross = _block(schema, Side.CROSS, given)
    if part == "single":
        assert isinstance(model, SinglePreRanker)
        return model.interact_single(given[REQUEST], given[CANDIDATE], cross)
    return model.interact(given[REQUEST], given[CANDIDATE], cross, given[REQUEST_INDEX]).logits


def _block(schema: Schema, side: Side, given: Mapping[str, Tensor]) -> FeatureBlock:
    fields = schema.side(side)
    return FeatureBlock(
        ids=given[ids_of(side)],
        numbers=given[numbers_of(side)],
        vectors={f.name: given[vectors_of(f)] for f in fields if f.kind is Kind.VECTOR},
        sequences={f.name: Ragged(given[sequence_of(f)], given[lengths_of(f)]) for f in fields if f.is_sequence},
    )


def _batch(schema: Schema, given: Mapping[str, Tensor]) -> Batch:
    index = given[REQUEST_INDEX]
    request = _block(schema, Side.REQUEST, given)
    labels = torch.zeros((index.shape[0], len(schema.tasks)), device=index.device)
    return Batch(
        request=request,
        candidate=_block(schema, Side.CANDIDATE, given),
        cross=_block(schema, Side.CROSS, given),
        request_index=index,
        labels=labels,
        observed=labels > 0,
        stage=index,
        origin=index,
        weight=labels[:, 0],
        request_id=request.ids[:, :0].sum(1),
        user_id=request.ids[:, :0].sum(1),
        item_id=index,
        row=index,
        columns={},
    )


def example(schema: Schema, signature: Signature, vectors: Mapping[str, Tensor], seed: int = 0) -> tuple[Tensor, ...]:
    """Draws arguments of a part: 3 requests, 7 candidates.

    Args:
        schema: The model's view of the schema.
        signature: Of the part.
        vectors: `request` and `candidate` of the part `interact`.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {REQUEST_INDEX: torch.tensor([0, 0, 1, 1, 1, 2, 2]), **vectors}
    longest = example_lengths()
    for side in Side:
        rows = _REQUESTS if side is Side.REQUEST else _CANDIDATES
        found |= example_side(schema.side(side), side, rows, longest, generator)
    return tuple(found[name] for name in signature.inputs)


def example_lengths() -> Iterator[int]:
    """Yields lengths of sequences, each once."""
    return (length + 32 * turn for turn in count() for length in _LENGTHS)


def example_side(
    fields: Sequence[FieldSpec], side: Side, rows: int, longest: Iterator[int], generator: torch.Generator
) -> dict[str, Tensor]:
    """Draws the inputs of a side.

    Args:
        fields: Of the side.
        side: Which.
        rows: Of each.
        longest: Lengths of padded sequences, one for each.
        generator: Of the draws.
    """
    ids = [torch.randint(0, f.size or 1, (rows, 1), generator=generator) for f in fields if f.is_id]
    found = {
        ids_of(side): torch.cat([torch.zeros(rows, 0, dtype=torch.int64), *ids], dim=1),
        numbers_of(side): torch.randn(rows, sum(f.is_number for f in fields), generator=generator),
    }
    for spec in fields:
        if spec.kind is Kind.VECTOR:
            found[vectors_of(spec)] = torch.randn(rows, spec.width or 0, generator=generator)
        elif spec.is_sequence:
            most = next(longest)
            found[lengths_of(spec)] = torch.randint(0, most + 1, (rows,), generator=generator)
            found[sequence_of(spec)] = (
                torch.randn(rows, most, spec.width or 0, generator=generator)
                if spec.has_vectors
                else torch.randint(0, spec.size or 1, (rows, most), generator=generator)
            )
    return found
