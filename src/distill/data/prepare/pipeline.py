"""The passes of preparation: split, group, fit, write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distill.data.contents import Contents
from distill.data.dataset import load_dataset, write_manifest
from distill.data.format import (
    SCHEMA_FILE,
    SPLITS,
    Dataset,
    Manifest,
    PartFile,
    Split,
    arrow_schema,
    content_fingerprint,
)
from distill.data.prepare.ahead import ahead
from distill.data.prepare.assign import SplitPlanner
from distill.data.prepare.attribute import attribute_events
from distill.data.prepare.counts import Counts
from distill.data.prepare.duplicates import without_repeats
from distill.data.prepare.encode import ChunkEncoder
from distill.data.prepare.fit import Fitter
from distill.data.prepare.grouping import Grouping
from distill.data.prepare.items import open_items, write_items
from distill.data.prepare.known import KnownEncodings
from distill.data.prepare.meter import TeacherMeter
from distill.data.prepare.plan import open_checked, table_kinds
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.raw_keys import RawKeys
from distill.data.prepare.source import BATCH_BYTES, RawFiles
from distill.data.prepare.stream import ChunkSource, StraightSource
from distill.data.prepare.survey import Survey
from distill.data.prepare.writer import PartWriter
from distill.data.raw import RawDataset
from distill.data.raw_identity import described
from distill.data.split import ColumnSplit, DateSplit, FileSplit, SplitRule
from distill.encodings.fitted import FittedEncodings
from distill.encodings.tokens import FittedText, read_text
from distill.errors import DataError
from distill.files import atomic_directory
from distill.schema import Kind, Schema, dump_schema, save_schema

DEFAULT_MEMORY_BYTES = 2 << 30
_MAX_THREADS = 8
_BATCHES_IN_MEMORY = 16


def prepare(
    raw: RawDataset,
    out: Path,
    *,
    known: KnownEncodings | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    progress: bool = True,
) -> Dataset:
    """Prepares a dataset: splits, encodes and writes it, whole or not at all.

    Encodings are fitted on the training split, unless they are known; quantiles are exact up to a million values,
    beyond that they are those of a seeded uniform sample of a million. The bytes written depend on the raw data only,
    not on `memory_bytes`: requests that are whole in the raw files keep their order, gathered ones are ordered by the
    hash of their key. The manifest counts what was met, such as `oov/val/item_id` or `null_labels/train/click`.

    Args:
        raw: Raw files, their schema and the split rule.
        out: Folder of the dataset; must not exist, or be empty.
        known: Encodings to use in place of fitting them; then splits may be empty.
        memory_bytes: What the passes may hold in memory beside vocabularies; more rows go through temporary files.
        progress: Whether to show a bar per pass.

    Returns:
        The prepared dataset, opened.

    Raises:
        SchemaError: The schema does not fit the raw files or the split rule.
        DataError: The raw files do not hold what the schema says, a split is empty, a field is not among the known
            encodings, or `out` is taken.
    """
    with (
        atomic_directory(out) as beside,
        tempfile.TemporaryDirectory(dir=beside, prefix="scratch-") as scratch,
        PassProgress(progress) as bars,
    ):
        _Preparation(raw, known, beside, Path(scratch), memory_bytes, bars).run()
    return load_dataset(out)


@dataclass(frozen=True)
class _Preparation:
    raw: RawDataset
    known: KnownEncodings | None
    root: Path
    scratch: Path
    memory_bytes: int
    bars: PassProgress

    def run(self) -> None:
        schema = self.raw.schema
        if self.known is not None:
            self.known.check(schema)
        batch_bytes = min(BATCH_BYTES, self.memory_bytes // _BATCHES_IN_MEMORY)
        files, uses, shape = open_checked(self.raw.all_files, schema, self.raw.rule, batch_bytes)
        items = open_items(self.raw.items, schema, files) if self.raw.items is not None else None
        texts = self._texts()
        counts = Counts()
        counts.add("rows_read", files.num_rows)
        counts.add("dropped", 0)
        events = attribute_events(self.raw.events, schema, files, shape, self.memory_bytes, self.bars, counts)
        assigner = SplitPlanner(files, self.raw, shape, self.scratch, self.memory_bytes, self.bars).plan()
        source: ChunkSource
        if shape == "pairs":
            source = Grouping(files, schema, uses, self.scratch, self.memory_bytes, self.bars).run(assigner)
        else:
            source = StraightSource(files, schema, uses, assigner, nested=shape == "requests")
        kinds = table_kinds(files, schema.fields)
        with ThreadPoolExecutor(max(1, min(_MAX_THREADS, os.cpu_count() or 1))) as pool:
            fitted, ranges = self._encodings(source, Fitter(schema, kinds, texts), pool, files)
            sized = fitted.sized(schema)
            meters = {task: TeacherMeter(sized.teacher) for task in sized.logged_tasks}
            survey = Survey(sized)
            raw_keys = RawKeys.of(sized, files, shape == "requests")
            encoder = ChunkEncoder(sized, fitted, counts, survey, meters, pool, raw_keys, events)
            splits = self._write(source, encoder, files.num_rows)
        catalogue = write_items(items, self.root, sized, fitted, counts, self.bars) if items is not None else ()
        self._finish(sized, fitted, ranges, splits, catalogue, counts, survey.result(files, self.raw.found), meters)

    def _texts(self) -> dict[str, FittedText]:
        """Reads how text is cut, tokenizers included, before a row is read."""
        schema = self.raw.schema
        texts = [spec for spec in schema.fields if spec.kind is Kind.TEXT]
        found = self.known.texts(schema) if self.known is not None else {s.table: read_text(s) for s in texts}
        for text in found.values():
            text.load()
        return found

    def _encodings(
        self, source: ChunkSource, fitter: Fitter, pool: ThreadPoolExecutor, files: RawFiles
    ) -> tuple[FittedEncodings, dict[str, tuple[float, float]]]:
        if self.known is None:
            return self._fit(source, fitter, pool, files.num_rows)
        if not self.known.grow:
            return self.known.of(self.raw.schema, None), {}
        fresh, ranges = self._fit(source, fitter, pool, files.num_rows)
        return self.known.of(self.raw.schema, fresh), ranges

    def _fit(
        self, source: ChunkSource, fitter: Fitter, pool: ThreadPoolExecutor, rows: int
    ) -> tuple[FittedEncodings, dict[str, tuple[float, float]]]:
        bar = self.bars.begin("fit encodings", rows)
        seen = np.zeros(len(SPLITS), np.int64)
        for chunk in ahead(source.chunks()):
            fitter.add(without_repeats(chunk, self.raw.schema), pool)
            seen += np.bincount(chunk.split, minlength=len(SPLITS))
            bar.advance(chunk.num_raw_rows)
        self._check_splits(dict(zip(SPLITS, seen.tolist(), strict=True)))
        return fitter.finish()

    def _check_splits(self, requests: dict[Split, int]) -> None:
        for name, number in requests.items():
            if number == 0 and (self.known is None or name == "train"):
                raise DataError(
                    f"The {name} split would be empty.",
                    where=", ".join(str(path) for path in self.raw.apart.get(name, self.raw.files)[:3]),
                    expected="requests in train, val and test",
                    found=f"{requests['train']} train, {requests['val']} val, {requests['test']} test",
                    remedy=_split_remedy(self.raw.rule),
                )

    def _write(self, source: ChunkSource, encoder: ChunkEncoder, rows: int) -> dict[Split, tuple[PartFile, ...]]:
        bar = self.bars.begin("write splits", rows)
        kept = encoder.raw_keys.kinds
        writers = {name: PartWriter(self.root, name, arrow_schema(encoder.schema, name, kept)) for name in SPLITS}
        with ExitStack() as stack:
            for writer in writers.values():
                stack.callback(writer.abort)
            encoded = ((chunk.num_raw_rows, *encoder.encode(chunk)) for chunk in ahead(source.chunks()))
            for raw_rows, chunk, batch in ahead(encoded):
                for code, name in enumerate(SPLITS):
                    keep = chunk.split == code
                    if keep.any():
                        rest = batch if keep.all() else batch.filter(pa.array(keep))
                        writers[name].add(rest, chunk.counts[keep])
                bar.advance(raw_rows)
            return {name: writer.close() for name, writer in writers.items()}

    def _finish(
        self,
        schema: Schema,
        fitted: FittedEncodings,
        ranges: dict[str, tuple[float, float]],
        splits: dict[Split, tuple[PartFile, ...]],
        items: tuple[PartFile, ...],
        counts: Counts,
        contents: Contents,
        meters: Mapping[str, TeacherMeter],
    ) -> None:
        save_schema(schema, self.root / SCHEMA_FILE)
        encodings = fitted.save(self.root)
        parts: dict[str, tuple[PartFile, ...]] = {**dict(splits.items()), "items": items}
        manifest = Manifest(
            fingerprint=content_fingerprint(dump_schema(schema), encodings, parts),
            source=self._source(),
            splits=splits,
            items=items,
            encodings=encodings,
            ranges=ranges,
            counts=counts.result(),
            teacher={task: meter.result() for task, meter in meters.items()},
            contents=contents,
        )
        write_manifest(self.root, manifest)

    def _source(self) -> dict[str, Any]:
        """Describes raw files by name, size and hash, tables by their version: moving them changes nothing."""
        paths = [*self.raw.all_files, *([self.raw.items] if self.raw.items is not None else [])]
        paths += [path for files in self.raw.events.values() for path in files]
        rule, apart = self.raw.rule, self.raw.apart
        split = {"rule": None} if rule is None else {"rule": type(rule).__name__, **asdict(rule)}
        source: dict[str, Any] = {"files": list(map(described, paths)), "split": split}
        if apart:
            source["apart"] = {name: len(paths) for name, paths in apart.items()}
        if self.known is not None:
            source["encodings"] = {"of": self.known.origin, "grown": self.known.grow}
        return source


def _split_remedy(rule: SplitRule | None) -> str:
    if rule is None:
        return "Check the files that `data.source` names for it."
    if isinstance(rule, ColumnSplit):
        return f"Column {rule.column!r} must name every split at least once."
    if isinstance(rule, DateSplit):
        return (
            f"Val begins at {rule.val}, test at {rule.test}: check that there are requests before, between and after."
        )
    if isinstance(rule, FileSplit):
        return "Check that the files of each split hold rows."
    return "Use larger shares of val and test, more data, or another split rule; equal times fall into one split."
