"""Counts what chunks are made of as they go by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from distill.codes import MISSING_KEY
from distill.data.contents import Contents, Duplicates, FilesRead, RepeatedCandidate, SplitContents
from distill.data.format import SPLITS
from distill.data.found import FilesFound
from distill.data.prepare.chunk import Chunk, Int8
from distill.data.prepare.counts import by_split
from distill.data.prepare.duplicates import Repeats, pair_name
from distill.data.prepare.source import RawFiles
from distill.data.prepare.split_meters import FieldMeter, LabelMeter, TimeMeter
from distill.data.prepare.streams import Streams, as_they_come
from distill.data.raw_identity import raw_bytes
from distill.encodings.arrow import Int64
from distill.encodings.fitted import EncodedField
from distill.schema import Schema

Float32 = npt.NDArray[np.float32]

_EXAMPLES = 3
_NAMES = 20


class Survey:
    """Gathers the contents of a dataset.

    Args:
        schema: Of the dataset.
        streams: How numbers are taken whose order counts.
    """

    def __init__(self, schema: Schema, streams: Streams = as_they_come) -> None:
        self._schema = schema
        self._rows, self._requests, self._candidates, self._empty = np.zeros((4, len(SPLITS)), np.int64)
        self._without_user, self._without_item = np.zeros((2, len(SPLITS)), np.int64)
        self._repeated, self._contrary = np.zeros((2, len(SPLITS)), np.int64)
        self._examples: tuple[list[RepeatedCandidate], ...] = tuple([] for _ in SPLITS)
        self._labels = {task.name: LabelMeter(task.kind == "binary", streams) for task in schema.tasks}
        self._fields = {spec.name: FieldMeter(spec) for spec in schema.fields}
        self._times = TimeMeter()

    def add_rows(self, chunk: Chunk) -> None:
        """Adds the raw rows of a chunk, as it was read."""
        split = chunk.split if chunk.nested else chunk.candidate_split
        self._rows += by_split(split)
        if (column := self._schema.keys.time) is not None:
            if chunk.nested:
                self._times.add(chunk.request[column], chunk.request_place(column, "keys.time"), split)
            else:
                self._times.add(chunk.candidate[column], chunk.candidate_place(column, "keys.time"), split)

    def add_requests(self, chunk: Chunk, items: Int64, split: Int8) -> None:
        """Adds the requests of a chunk with the candidates that are written: item keys and split of these `[N]`."""
        self._requests += by_split(chunk.split)
        self._candidates += by_split(split)
        self._empty += by_split(chunk.split, chunk.counts == 0)
        if self._schema.keys.user is not None:
            self._without_user += by_split(chunk.split, chunk.user_key == MISSING_KEY)
        if self._schema.keys.item is not None:
            self._without_item += by_split(split, items == MISSING_KEY)

    def add_repeats(self, chunk: Chunk, repeats: Repeats, labels: Mapping[str, Float32]) -> None:
        """Adds candidates whose item is in their request before; labels of all candidates `[N]` by task."""
        later, firsts = repeats.later
        differ = np.zeros(len(later), np.bool_)
        for of_task in labels.values():
            one, other = of_task[later], of_task[firsts]
            differ |= (one != other) & ~np.isnan(one) & ~np.isnan(other)
        split = chunk.candidate_split
        self._repeated += by_split(split, later)
        self._contrary += by_split(split, later[differ])
        seconds = repeats.rows[repeats.starts + 1]
        for code, found in enumerate(self._examples):
            for row in seconds[split[seconds] == code][: _EXAMPLES - len(found)].tolist():
                request, item = pair_name(chunk, self._schema, row)
                found.append(RepeatedCandidate(request=request, item=item))

    def add_labels(self, task: str, labels: Float32, split: Int8, unobserved: Int64) -> None:
        """Adds the labels of candidates `[N]`: NaN where not observed, which are so many by split `[3]`."""
        self._labels[task].add(labels, split, unobserved)

    def add_field(self, name: str, encoded: EncodedField, split: Int8, rows: Int64, unknown: Int64) -> None:
        """Adds the encoded values of a field `[n]`, of which there are so many, and of unknown ones, by split `[3]`."""
        self._fields[name].add(encoded, split, rows, unknown)

    def absorb(self, other: Survey) -> None:
        """Adds what another one gathered from later chunks."""
        for own, more in zip(self._sums, other._sums, strict=True):
            own += more
        for found, later in zip(self._examples, other._examples, strict=True):
            found += later[: _EXAMPLES - len(found)]
        for task, labels in self._labels.items():
            labels.absorb(other._labels[task])
        for name, values in self._fields.items():
            values.absorb(other._fields[name])
        self._times.absorb(other._times)

    @property
    def _sums(self) -> tuple[Int64, ...]:
        counted = self._rows, self._requests, self._candidates, self._empty
        return *counted, self._without_user, self._without_item, self._repeated, self._contrary

    def result(self, files: RawFiles, found: FilesFound | None = None) -> Contents:
        """Returns what was counted, of files that were read; `found` says which others there were."""
        paths = [file.path for file in files.files]
        read = FilesRead(
            count=len(paths),
            rows=files.num_rows,
            bytes=sum(map(raw_bytes, paths)),
            names=tuple(path.name for path in paths[:_NAMES]),
            left_out={reason: len(others) for reason, others in found.left_out.items()} if found is not None else {},
        )
        return Contents(files=read, splits={name: self._split(code) for code, name in enumerate(SPLITS)})

    def _split(self, code: int) -> SplitContents:
        return SplitContents(
            rows=int(self._rows[code]),
            requests=int(self._requests[code]),
            candidates=int(self._candidates[code]),
            without_candidates=int(self._empty[code]),
            without_user=int(self._without_user[code]),
            without_item=int(self._without_item[code]),
            time=None if self._schema.keys.time is None else self._times.result(code),
            duplicates=Duplicates(
                candidates=int(self._repeated[code]),
                other_label=int(self._contrary[code]),
                examples=tuple(self._examples[code]),
            ),
            labels={task: meter.result(code) for task, meter in self._labels.items()},
            fields={name: meter.result(code) for name, meter in self._fields.items()},
        )
