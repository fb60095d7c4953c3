"""Raw chunks as batches: encoded by the code that prepares datasets, straight into tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, Origin, Ragged, Stage
from distill.codes import MISSING_KEY
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.targets import values
from distill.encodings import EncodedField, FittedEncodings, SideArrays
from distill.encodings.arrow import explode
from distill.schema import FieldSpec, Schema, Side


@dataclass(frozen=True)
class ChunkFeatures:
    """What a model reads of a chunk of R requests with N candidates.

    Attributes:
        chunk: The raw columns.
        sides: Fields of each side; R rows of the request side, N of the others.
        columns: Column of the ranking score to its numbers `[N]`.
        num_tasks: K.
        unknown: Field to how many of its values the encodings do not know.
        num_values: Field to how many values it has.
    """

    chunk: Chunk
    sides: Mapping[Side, FeatureBlock]
    columns: Mapping[str, Tensor]
    num_tasks: int
    unknown: Mapping[str, int]
    num_values: Mapping[str, int]

    def batches(self, most: int) -> Iterator[Batch]:
        """Cuts the chunk into batches of whole requests of at most `most` candidates; a longer request is one alone.
        Requests without candidates are in none."""
        ends = np.cumsum(self.chunk.counts)
        begin = 0
        while begin < len(ends):
            before = int(ends[begin] - self.chunk.counts[begin])
            end = max(begin + 1, int(np.searchsorted(ends, before + most, side="right")))
            if int(ends[end - 1]) > before:
                yield self._batch(begin, end, before, int(ends[end - 1]))
            begin = end

    def _batch(self, begin: int, end: int, first: int, last: int) -> Batch:
        requests, rows = torch.arange(begin, end), torch.arange(first, last)
        counts = torch.from_numpy(self.chunk.counts[begin:end])
        size = last - first
        return Batch(
            request=self.sides[Side.REQUEST].select(requests),
            candidate=self.sides[Side.CANDIDATE].select(rows),
            cross=self.sides[Side.CROSS].select(rows),
            request_index=torch.repeat_interleave(torch.arange(end - begin), counts),
            labels=torch.zeros(size, self.num_tasks),
            observed=torch.zeros(size, self.num_tasks, dtype=torch.bool),
            stage=torch.full((size,), int(Stage.RECALLED)),
            origin=torch.full((size,), int(Origin.LOG)),
            weight=torch.ones(size),
            request_id=requests,
            user_id=torch.full((end - begin,), MISSING_KEY),
            item_id=torch.full((size,), MISSING_KEY),
            row=rows,
            columns={name: column[first:last] for name, column in self.columns.items()},
        )


@dataclass(frozen=True)
class FeatureEncoder:
    """Encodes chunks.

    Attributes:
        schema: Of the model: its fields, in their order, and its ranking score.
        fitted: Its encodings.
        pool: Fields are encoded on its threads.
    """

    schema: Schema
    fitted: FittedEncodings
    pool: ThreadPoolExecutor

    def encode(self, chunk: Chunk) -> ChunkFeatures:
        """Encodes a chunk.

        Raises:
            DataError: A column does not hold what its field says.
        """
        jobs = {spec.name: self.pool.submit(self._encoded, chunk, spec) for spec in self.schema.fields}
        encoded = {name: job.result() for name, job in jobs.items()}
        rows = {side: len(chunk.counts) if side is Side.REQUEST else chunk.num_candidates for side in Side}
        sides = {side: block_of(SideArrays.of(self.schema.side(side), encoded, rows[side])) for side in Side}
        of_score = self.schema.model_copy(update={"evaluation": ()})
        return ChunkFeatures(
            chunk,
            sides,
            {name: torch.from_numpy(column) for name, column in values(chunk, of_score).items()},
            len(self.schema.tasks),
            {name: len(found.oov) for name, found in encoded.items() if len(found.oov)},
            {name: _num_values(found) for name, found in encoded.items()},
        )

    def _encoded(self, chunk: Chunk, spec: FieldSpec) -> EncodedField:
        return self.fitted.encode(*chunk.of_field(spec), by=[*map(chunk.of_field, self.schema.groups_of(spec))])


def block_of(arrays: SideArrays) -> FeatureBlock:
    """Returns the fields of a side as tensors, which share their memory with the arrays."""
    return FeatureBlock(
        ids=torch.from_numpy(arrays.ids),
        numbers=torch.from_numpy(arrays.numbers),
        vectors={name: torch.from_numpy(vectors) for name, vectors in arrays.vectors.items()},
        sequences={
            name: Ragged(torch.from_numpy(values), torch.from_numpy(lengths))
            for name, (values, lengths) in arrays.sequences.items()
        },
    )


def _num_values(field: EncodedField) -> int:
    """Values of a field: rows, or the values of all lists of a sequence."""
    is_sequence = str(field.array.type).startswith("list")
    return len(explode(field.array)[0]) if is_sequence else len(field.array)
