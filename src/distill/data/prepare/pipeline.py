"""The passes of preparation: split, group, fit, write."""

from __future__ import annotations

import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distill.data.dataset import load_dataset, write_manifest
from distill.data.format import (
    SCHEMA_FILE,
    SPLITS,
    Dataset,
    Manifest,
    PartFile,
    Split,
    content_fingerprint,
)
from distill.data.prepare.assign import SplitPlanner
from distill.data.prepare.attribute import attribute_events
from distill.data.prepare.counts import Counts
from distill.data.prepare.gather import Grouping
from distill.data.prepare.items import ITEMS, Catalogue, open_items, write_items
from distill.data.prepare.known import KnownEncodings
from distill.data.prepare.passes import Encoding, Fitting, Passes, PassesHere
from distill.data.prepare.passes_on_engine import PassesOnEngine
from distill.data.prepare.plan import open_checked, table_kinds
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.raw_keys import RawKeys
from distill.data.prepare.source import BATCH_BYTES, RawFiles
from distill.data.prepare.stream import ChunkSource, StraightSource
from distill.data.prepare.threads import meanwhile
from distill.data.raw import RawDataset
from distill.data.raw_identity import described
from distill.data.split import ColumnSplit, DateSplit, FileSplit, SplitRule
from distill.encodings.fitted import FittedEncodings
from distill.encodings.tokens import FittedText, read_text
from distill.engines import Engine, LocalEngine
from distill.errors import DataError
from distill.files import atomic_directory, own_folder
from distill.schema import Kind, dump_schema, save_schema

DEFAULT_MEMORY_BYTES = 2 << 30
_BATCHES_IN_MEMORY = 16


def prepare(
    raw: RawDataset,
    out: Path,
    *,
    known: KnownEncodings | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    progress: bool = True,
    engine: Engine | None = None,
) -> Dataset:
    """Prepares a dataset: splits, encodes and writes it, whole or not at all.

    Encodings are fitted on the training split, unless they are known; quantiles are exact up to a million values,
    beyond that they are those of a seeded uniform sample of a million. The bytes written depend on the raw data only,
    not on `memory_bytes` or the engine: requests that are whole in the raw files keep their order, gathered ones are
    ordered by the hash of their key. The manifest counts what was met, such as `oov/val/item_id` or
    `null_labels/train/click`.

    Args:
        raw: Raw files, their schema and the split rule.
        out: Folder of the dataset; must not exist, or be empty.
        known: Encodings to use in place of fitting them; then splits may be empty.
        memory_bytes: What the passes may hold in memory beside vocabularies; more rows go through temporary files.
        progress: Whether to show a bar per pass.
        engine: Where the passes are made; in this process if not given.

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
        _Preparation(raw, known, beside, Path(scratch), memory_bytes, bars, engine or LocalEngine()).run()
    return load_dataset(out)


@dataclass(frozen=True)
class _Preparation:
    raw: RawDataset
    known: KnownEncodings | None
    root: Path
    scratch: Path
    memory_bytes: int
    bars: PassProgress
    engine: Engine

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
        events = attribute_events(
            self.raw.events, schema, files, shape, self.memory_bytes, self.bars, counts, self.engine
        )
        assigner = SplitPlanner(files, self.raw, shape, self.scratch, self.memory_bytes, self.bars, self.engine).plan()
        source: ChunkSource
        if shape == "pairs":
            grouping = Grouping(files, schema, uses, self.scratch, self.memory_bytes, self.bars, self.engine)
            source = grouping.run(assigner)
        else:
            source = StraightSource(files, schema, uses, assigner, nested=shape == "requests")
        fitting = Fitting(source, schema, table_kinds(files, schema.fields), texts)
        fitted, ranges = self._encodings(fitting, files)
        sized = fitted.sized(schema)
        encoding = Encoding(source, sized, fitted, RawKeys.of(sized, files, shape == "requests"), events)
        self._write(encoding, files, items, ranges, counts)

    def _write(
        self,
        encoding: Encoding,
        files: RawFiles,
        items: RawFiles | None,
        ranges: dict[str, tuple[float, float]],
        counts: Counts,
    ) -> None:
        schema, fitted = encoding.schema, encoding.fitted
        bar = self.bars.begin("write splits", files.num_rows)
        with meanwhile() as saving, meanwhile() as hashing:
            saved = saving.submit(fitted.save, self.root)
            hashes = self._described(hashing)
            splits, found = self._passes.write(encoding, self.root, bar.advance)
            counts.absorb(found.counts)
            catalogue = self._write_items(Catalogue(items, schema, fitted), counts) if items is not None else ()
            save_schema(schema, self.root / SCHEMA_FILE)
            encodings = saved.result()
            parts: dict[str, tuple[PartFile, ...]] = {**dict(splits.items()), "items": catalogue}
            manifest = Manifest(
                fingerprint=content_fingerprint(dump_schema(schema), encodings, parts),
                source=self._source([file.result() for file in hashes]),
                splits=splits,
                items=catalogue,
                encodings=encodings,
                ranges=ranges,
                counts=counts.result(),
                teacher={task: meter.result() for task, meter in found.meters.items()},
                contents=found.survey.result(files, self.raw.found),
            )
        write_manifest(self.root, manifest)

    @property
    def _passes(self) -> Passes:
        return PassesHere(self.scratch) if self.engine.is_local else PassesOnEngine(self.engine, self.scratch)

    def _write_items(self, catalogue: Catalogue, counts: Counts) -> tuple[PartFile, ...]:
        """Writes the catalogue, which is one file, by one task."""
        bar, folder = self.bars.begin("write items", catalogue.files.num_rows), own_folder(self.scratch)
        (written,) = self.engine.map(write_items, catalogue, [folder], bar.advance)
        counts.absorb(written.counts)
        written.folder.rename(self.root / ITEMS)
        return written.parts

    def _texts(self) -> dict[str, FittedText]:
        """Reads how text is cut, tokenizers included, before a row is read."""
        schema = self.raw.schema
        texts = [spec for spec in schema.fields if spec.kind is Kind.TEXT]
        found = self.known.texts(schema) if self.known is not None else {s.table: read_text(s) for s in texts}
        for text in found.values():
            text.load()
        return found

    def _encodings(self, fitting: Fitting, files: RawFiles) -> tuple[FittedEncodings, dict[str, tuple[float, float]]]:
        if self.known is None:
            return self._fit(fitting, files.num_rows)
        if not self.known.grow:
            return self.known.of(self.raw.schema, None), {}
        fresh, ranges = self._fit(fitting, files.num_rows)
        return self.known.of(self.raw.schema, fresh), ranges

    def _fit(self, fitting: Fitting, rows: int) -> tuple[FittedEncodings, dict[str, tuple[float, float]]]:
        bar = self.bars.begin("fit encodings", rows)
        fitter, seen = self._passes.fit(fitting, bar.advance)
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

    def _described(self, pool: ThreadPoolExecutor) -> list[Future[dict[str, Any]]]:
        """Describes raw files by name, size and hash, tables by their version: moving them changes nothing."""
        paths = [*self.raw.all_files, *([self.raw.items] if self.raw.items is not None else [])]
        paths += [path for files in self.raw.events.values() for path in files]
        return [pool.submit(described, path) for path in paths]

    def _source(self, files: list[dict[str, Any]]) -> dict[str, Any]:
        rule, apart = self.raw.rule, self.raw.apart
        split = {"rule": None} if rule is None else {"rule": type(rule).__name__, **asdict(rule)}
        source: dict[str, Any] = {"files": files, "split": split}
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
