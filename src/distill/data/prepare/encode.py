"""Turns a raw chunk into the columns of the prepared dataset, counting what it meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from distill.codes import MISSING_KEY
from distill.data.format import (
    ITEM_KEY,
    NUM_CANDIDATES,
    REQUEST_KEY,
    SPLITS,
    STAGE,
    USER_KEY,
    arrow_schema,
    field_column,
    hidden_column,
    label_column,
    teacher_column,
    value_column,
)
from distill.data.prepare.attribute import EventLabels
from distill.data.prepare.candidates import Candidates, Float32, merged, read_candidates
from distill.data.prepare.chunk import Chunk, Int8
from distill.data.prepare.counts import Counts, by_split
from distill.data.prepare.duplicates import find_repeats
from distill.data.prepare.meter import TeacherMeter
from distill.data.prepare.raw_keys import RawKeys
from distill.data.prepare.survey import Survey
from distill.encodings.arrow import from_lengths, null_mask
from distill.encodings.fitted import EncodedField, FittedEncodings
from distill.schema import FieldSpec, Schema, Side


@dataclass(frozen=True)
class ChunkEncoder:
    """Encodes chunks of one dataset.

    Attributes:
        schema: Of the dataset.
        fitted: Its encodings.
        counts: Where events are counted.
        survey: Where what the splits are made of is counted.
        meters: Where the teacher's scores in the training split are looked at, by task.
        pool: Fields are encoded on its threads.
        raw_keys: The ids that are kept as they are.
        events: Task to its labels, of tasks whose events were attributed.
    """

    schema: Schema
    fitted: FittedEncodings
    counts: Counts
    survey: Survey
    meters: Mapping[str, TeacherMeter]
    pool: ThreadPoolExecutor
    raw_keys: RawKeys
    events: Mapping[str, EventLabels] = field(default_factory=dict)

    def encode(self, chunk: Chunk) -> tuple[Chunk, pa.RecordBatch]:
        """Encodes a chunk.

        Returns:
            The chunk with the candidates that are written, and all columns of an evaluation split, one row per request
            (per candidate if flat).
        """
        self.survey.add_rows(chunk)
        chunk, candidates = self._settled(chunk)
        for task, requests in candidates.elsewhere.items():
            self.counts.add_rows("no_candidate", task, requests, chunk.split)
        candidate_split = chunk.candidate_split
        self.survey.add_requests(chunk, candidates.items, candidate_split)
        fields = [(spec, self.pool.submit(self._field_job(chunk, spec))) for spec in self.schema.fields]
        columns: dict[str, pa.Array] = {
            REQUEST_KEY: pa.array(chunk.request_key),
            USER_KEY: pa.array(chunk.user_key),
            NUM_CANDIDATES: pa.array(chunk.counts.astype(np.int32)),
        }
        per_candidate: dict[str, pa.Array] = self._targets(candidates, candidate_split)
        rows = {True: by_split(chunk.split), False: by_split(candidate_split)}
        for spec, job in fields:
            encoded = job.result()
            split = chunk.split if spec.side is Side.REQUEST else candidate_split
            self.counts.add_rows("missing", spec.name, encoded.missing, split)
            unknown = self.counts.add_rows("oov", spec.name, encoded.oov, split)
            self.counts.add_rows("grouped", spec.name, encoded.grouped, split)
            self.survey.add_field(spec.name, encoded, split, rows[spec.side is Side.REQUEST], unknown)
            side = columns if spec.side is Side.REQUEST else per_candidate
            side[field_column(spec.name)] = encoded.array
        per_candidate.update(self.raw_keys.of_candidates(chunk))
        if self.schema.layout == "requests":
            per_candidate = {name: from_lengths(array, chunk.counts) for name, array in per_candidate.items()}
        columns.update(per_candidate, **self.raw_keys.of_requests(chunk))
        self._count_rows(chunk)
        target = arrow_schema(self.schema, "test", self.raw_keys.kinds)
        return chunk, pa.RecordBatch.from_arrays([columns[name] for name in target.names], schema=target)

    def _field_job(self, chunk: Chunk, spec: FieldSpec) -> Callable[[], EncodedField]:
        def run() -> EncodedField:
            return self.fitted.encode(*chunk.of_field(spec), by=[*map(chunk.of_field, self.schema.groups_of(spec))])

        return run

    def _settled(self, chunk: Chunk) -> tuple[Chunk, Candidates]:
        """Reads the candidates, and treats those that are in their request before as the schema says."""
        candidates = read_candidates(chunk, self.schema, self.events)
        if self.schema.layout == "flat" or (repeats := find_repeats(chunk, candidates.items)) is None:
            return chunk, candidates
        self.survey.add_repeats(chunk, repeats, candidates.labels)
        if self.schema.duplicates == "keep":
            return chunk, candidates
        if self.schema.duplicates == "merge":
            candidates = merged(candidates, repeats, self.schema)
        kept = repeats.kept(self.schema.duplicates == "last")
        self.counts.add("dropped", len(kept) - int(kept.sum()))
        return chunk.select(kept), candidates.select(kept)

    def _targets(self, candidates: Candidates, split: Int8) -> dict[str, pa.Array]:
        columns = {ITEM_KEY: pa.array(candidates.items), STAGE: pa.array(candidates.stage)}
        if self.schema.keys.item is not None:
            self.counts.add_rows("missing", "keys.item", candidates.items == MISSING_KEY, split)
        for name, label in candidates.labels.items():
            self.counts.add_rows("null_labels", name, candidates.null_labels[name], split)
            unobserved = self.counts.add_rows("unobserved_labels", name, np.isnan(label), split)
            self.survey.add_labels(name, label, split, unobserved)
            columns[label_column(name)] = pa.array(label)
        for name, value in candidates.values.items():
            columns[value_column(name)] = self._nan_counted("missing_values", name, value, split)
        train = split == SPLITS.index("train")
        for name, logit in candidates.logits.items():
            columns[teacher_column(name)] = self._nan_counted("missing_teacher", name, logit, split)
            self.meters[name].add(logit[train], candidates.labels[name][train], candidates.stage[train])
        columns.update({hidden_column(name): vectors for name, vectors in candidates.hidden.items()})
        return columns

    def _nan_counted(self, event: str, subject: str, numbers: Float32, split: Int8) -> pa.Array:
        self.counts.add_rows(event, subject, np.isnan(numbers), split)
        return pa.array(numbers)

    def _count_rows(self, chunk: Chunk) -> None:
        requests = np.bincount(chunk.split, minlength=len(SPLITS))
        candidates = np.bincount(chunk.split, weights=chunk.counts, minlength=len(SPLITS))
        for name, request, candidate in zip(SPLITS, requests, candidates, strict=True):
            self.counts.add(f"requests/{name}", int(request))
            self.counts.add(f"candidates/{name}", int(candidate))
        user = self.schema.keys.user
        if user is not None:
            self.counts.add_rows("missing", "keys.user", null_mask(chunk.request[user]), chunk.split)
        self.counts.add_rows("requests_without_candidates", "all", chunk.counts == 0, chunk.split)
