"""The two passes over chunks, that fit and that encode, as one process does them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from distill.data.format import SPLITS, PartFile, Split, arrow_schema
from distill.data.prepare.ahead import ahead
from distill.data.prepare.attribute import EventLabels
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.counts import Counts
from distill.data.prepare.duplicates import without_repeats
from distill.data.prepare.encode import ChunkEncoder
from distill.data.prepare.fit import Fitter
from distill.data.prepare.meter import TeacherMeter
from distill.data.prepare.raw_keys import RawKeys
from distill.data.prepare.stream import ChunkSource
from distill.data.prepare.streams import Streams, as_they_come
from distill.data.prepare.survey import Survey
from distill.data.prepare.threads import threads
from distill.data.prepare.writer import PartWriter
from distill.encodings.arrow import Int64
from distill.encodings.fitted import FittedEncodings
from distill.encodings.tables import ValueKind
from distill.encodings.tokens import FittedText
from distill.engines import Advance
from distill.files import own_folder
from distill.schema import Schema


@dataclass(frozen=True)
class Fitting:
    """What the first pass needs.

    Attributes:
        source: All requests.
        schema: Names the fields.
        kinds: Table name to the type of its values.
        texts: Table name to how the text of its fields is cut.
    """

    source: ChunkSource
    schema: Schema
    kinds: Mapping[str, ValueKind]
    texts: Mapping[str, FittedText]

    def fitter(self, streams: Streams = as_they_come, scratch: Path | None = None) -> Fitter:
        """Returns a fitter that has seen nothing; see there."""
        return Fitter(self.schema, self.kinds, self.texts, streams, scratch)

    def add(self, fitter: Fitter, chunks: Iterator[Chunk], advance: Advance) -> Int64:
        """Gives chunks to a fitter; returns how many requests of each split there were `[3]`."""
        seen = np.zeros(len(SPLITS), np.int64)
        with threads() as pool:
            for chunk in ahead(chunks):
                fitter.add(without_repeats(chunk, self.schema), pool)
                seen += np.bincount(chunk.split, minlength=len(SPLITS))
                advance(chunk.num_raw_rows)
        return seen


@dataclass(frozen=True)
class Encoding:
    """What the second pass needs.

    Attributes:
        source: All requests.
        schema: Of the dataset.
        fitted: Its encodings.
        raw_keys: The ids that are kept as they are.
        events: Task to its labels, of tasks whose events were attributed.
    """

    source: ChunkSource
    schema: Schema
    fitted: FittedEncodings
    raw_keys: RawKeys
    events: Mapping[str, EventLabels] = field(default_factory=dict)

    def found(self, streams: Streams = as_they_come) -> Found:
        """Returns what has counted nothing yet."""
        meters = {task: TeacherMeter(self.schema.teacher, streams) for task in self.schema.logged_tasks}
        return Found(Counts(), Survey(self.schema, streams), meters)

    def encoded(self, chunks: Iterator[Chunk], found: Found) -> Iterator[tuple[int, Chunk, pa.RecordBatch]]:
        """Encodes chunks, counting what it meets.

        Returns:
            Raw rows of a chunk, and what `ChunkEncoder.encode` returns.
        """
        with threads() as pool:
            encoder = ChunkEncoder(
                self.schema, self.fitted, found.counts, found.survey, found.meters, pool, self.raw_keys, self.events
            )
            yield from ahead((chunk.num_raw_rows, *encoder.encode(chunk)) for chunk in ahead(chunks))

    def arrow_schema(self, split: Split) -> pa.Schema:
        """Columns of a split's part files."""
        return arrow_schema(self.schema, split, self.raw_keys.kinds)


@dataclass(frozen=True)
class Found:
    """What the second pass counted: events, what the splits are made of, and what a teacher says by task."""

    counts: Counts
    survey: Survey
    meters: Mapping[str, TeacherMeter]

    def absorb(self, other: Found) -> None:
        """Adds what was counted of later chunks of the same data."""
        self.counts.absorb(other.counts)
        self.survey.absorb(other.survey)
        for task, meter in self.meters.items():
            meter.absorb(other.meters[task])


Splits = dict[Split, tuple[PartFile, ...]]


class Passes(Protocol):
    """Does the passes."""

    def fit(self, fitting: Fitting, advance: Advance) -> tuple[Fitter, Int64]:
        """Returns a fitter that has seen all chunks, and how many requests of each split there are `[3]`."""
        ...

    def write(self, encoding: Encoding, root: Path, advance: Advance) -> tuple[Splits, Found]:
        """Writes all splits below `root`; returns their part files, and what was found."""
        ...


@dataclass(frozen=True)
class PassesHere:
    """Does the passes in this process: chunk after chunk.

    Attributes:
        scratch: Folder for what the first pass leaves to the second.
    """

    scratch: Path

    def fit(self, fitting: Fitting, advance: Advance) -> tuple[Fitter, Int64]:
        """Returns a fitter that has seen all chunks, and how many requests of each split there are `[3]`."""
        fitter = fitting.fitter(scratch=own_folder(self.scratch))
        return fitter, fitting.add(fitter, fitting.source.chunks(), advance)

    def write(self, encoding: Encoding, root: Path, advance: Advance) -> tuple[Splits, Found]:
        """Writes all splits below `root`; returns their part files, and what was found."""
        writers = {name: PartWriter(root, name, encoding.arrow_schema(name)) for name in SPLITS}
        found = encoding.found()
        with ExitStack() as stack:
            for writer in writers.values():
                stack.callback(writer.abort)
            for raw_rows, chunk, batch in encoding.encoded(encoding.source.chunks(), found):
                for name, rows, counts in split_rows(chunk, batch):
                    writers[name].add(rows, counts)
                advance(raw_rows)
            for writer in writers.values():
                writer.end()
            return {name: writer.close() for name, writer in writers.items()}, found


def split_rows(chunk: Chunk, batch: pa.RecordBatch) -> Iterator[tuple[Split, pa.RecordBatch, Int64]]:
    """Yields the splits that are in an encoded chunk, their rows, and how many candidates each of these has."""
    for code, name in enumerate(SPLITS):
        keep = chunk.split == code
        if keep.any():
            yield name, batch if keep.all() else batch.filter(pa.array(keep)), chunk.counts[keep]
