"""Writes a log whose requests carry a teacher's hidden vectors of what their users did before: a field of students."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from distill.console import plain_console
from distill.data.build import build_dataset
from distill.data.format import SCHEMA_FILE, Dataset
from distill.data.past_vectors import ChosenRows, LogWriter, PastVectors, RequestTimes, read_chosen
from distill.data.past_vectors.requests import delay_in_ticks
from distill.data.prepare.plan import check_present, open_checked, open_files
from distill.data.prepare.source import RawFiles, column_names
from distill.data.prepare.uses import RawShape, Use, read_columns
from distill.data.raw import RawDataset
from distill.data.split import FileSplit
from distill.data.unlabelled.uses import ANY
from distill.errors import ConfigError, SchemaError
from distill.files import atomic_file, raw_sibling, remove_leftovers_below, room_for, write_text_atomic
from distill.jobs.cache import exclusive
from distill.jobs.node import build, plain
from distill.jobs.planned_folder import begin
from distill.places.mirror import named
from distill.places.staged import pull, push
from distill.schema import FieldSpec, Kind, Side, dump_schema
from distill.signals.provenance import Provenance, check_parts, check_provenance

LOG, ITEMS = Path("log"), Path("items.parquet")
_PART_ROWS, _PART_REQUESTS = 1 << 20, 1 << 14  # a row of requests holds many candidates


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        folder: With `log/`, `schema.yaml` and the catalogue, if there is one.
        requests: How many there are.
        with_past: How many of them have vectors.
        vectors: How many vectors there are to choose from.
        size: Root of the mean square of their numbers.
    """

    folder: Path
    requests: int
    with_past: int
    vectors: int
    size: float


def run(cfg: DictConfig) -> Written:
    """Writes the log of `data` to `out`, with the vectors of `signals`; parts that are there already are kept.

    Raises:
        ConfigError: A key has a value that it cannot have, or the log cannot be written again.
        SchemaError: The schema names no user or no time, or has the field already.
        SignalError: The signals are of another dataset, or damaged.
        DataError: The log or the dataset cannot be read, or the folder holds something else.
    """
    if cfg.data.get("adapter") is None:
        raise ConfigError(
            "The times of requests are in the log, not in a prepared dataset.",
            where="data",
            expected="the data that was scored, by its log: data=parquet data.source=… data.schema=…",
            found="data.adapter=null",
        )
    source = build(cfg.data.adapter, "data.adapter")
    dataset = build_dataset(source, Path(cfg.paths.data))
    out = Path(cfg.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(out.with_suffix(".lock")), raw_sibling(out) as scratch:
        pull(out)
        with room_for(scratch):
            raw = source.write_raw(scratch)
        written = _Job(cfg, raw, dataset, out).run()
        push(out)
    _say(written, raw)
    return written


@dataclass(frozen=True)
class _Job:
    cfg: DictConfig
    raw: RawDataset
    dataset: Dataset
    out: Path

    def run(self) -> Written:
        cfg = self.cfg
        _check(self.raw, str(cfg.field))
        signals = Path(cfg.signals)
        provenance = check_provenance(signals, self.dataset.fingerprint, ())
        check_parts(signals, provenance)
        vector = _vector(cfg.vector, provenance.hidden.names)
        writer, shape = self._writer(read_chosen(self.dataset, signals, vector, cfg.task))
        begin(self.out, self._plan(provenance, vector), "vectors of the past")  # mistakes leave no folder behind
        remove_leftovers_below(self.out)
        for path, start, stop in self._parts(writer.files, shape):
            if not path.is_file():
                writer.write(path, start, stop)
        self._finish(writer.past.vectors.shape[1])
        _, lengths = writer.past.before(writer.requests.users, writer.requests.times, writer.most, writer.delay)
        size = (
            float(np.sqrt(np.square(writer.past.vectors, dtype=np.float64).mean())) if len(writer.past.users) else 0.0
        )
        return Written(self.out, len(lengths), int((lengths > 0).sum()), len(writer.past.users), size)

    def _plan(self, provenance: Provenance, vector: str) -> dict[str, Any]:
        """What makes the files what they are."""
        cfg = self.cfg
        return {
            "dataset": self.dataset.fingerprint,
            "teacher": provenance.teacher,
            "vector": vector,
            **{key: getattr(provenance.hidden, key) for key in ("type", "width", "components")},
            "field": str(cfg.field),
            **{key: cfg[key] for key in ("task", "most", "delay", "scale", "part_rows")},
            "keep": list(plain(cfg.keep)),
        }

    def _writer(self, rows: ChosenRows) -> tuple[LogWriter, RawShape]:
        schema, cfg, paths = self.raw.schema, self.cfg, self.raw.all_files
        files, uses, shape = open_checked(paths, schema, self.raw.rule)
        if kept := list(plain(cfg.keep)):
            for file in files.files:
                for name in kept:
                    check_present(name, "keep", Counter(column_names(file.path)), str(file.path))
            uses = (*uses, *(Use(name, "keep", False, ANY) for name in kept))
            files = open_files(paths, schema, uses)
        requests = RequestTimes.read(files, schema)
        at = requests.find(rows.requests)
        past = PastVectors.of(requests.users[at], requests.times[at], rows.vectors * np.float32(cfg.scale))
        delay = delay_in_ticks(cfg.delay, files, str(schema.keys.time))
        columns = read_columns(uses)
        return LogWriter(files, schema, columns, str(cfg.field), requests, past, int(cfg.most), delay), shape

    def _parts(self, files: RawFiles, shape: RawShape) -> Iterator[tuple[Path, int, int]]:
        """Yields each part file, and the rows of it: from, and up to."""
        size = self.cfg.part_rows or (_PART_REQUESTS if shape == "requests" else _PART_ROWS)
        stop = 0
        for name, count in _groups(self.raw):
            start, stop = stop, stop + count
            rows = range(files.first_row(start), files.first_row(stop), size)
            for number, row in enumerate(rows):
                yield self.out / name / f"part-{number:05d}.parquet", row, min(row + size, rows.stop)

    def _finish(self, width: int) -> None:
        """Writes the catalogue, and last the schema."""
        schema = self.raw.schema
        if self.raw.items is not None and self.raw.items.suffix == ITEMS.suffix:
            with atomic_file(self.out / ITEMS) as beside:
                shutil.copyfile(self.raw.items, beside)
        made = FieldSpec(
            name=str(self.cfg.field), side=Side.REQUEST, kind=Kind.VECTORS, width=width, max_length=int(self.cfg.most)
        )
        written = schema.model_copy(update={"fields": (*schema.fields, made)})
        write_text_atomic(self.out / SCHEMA_FILE, dump_schema(written))


def _groups(raw: RawDataset) -> list[tuple[str, int]]:
    """Folders of the written log, and how many raw files go into each, in the order of `raw.all_files`."""
    if not raw.apart:
        return [(LOG.name, len(raw.files))]
    names = [name for name in ("val", "test") if name in raw.apart]
    return [("train", len(raw.files)), *((name, len(raw.apart[name])) for name in names)]


def _check(raw: RawDataset, name: str) -> None:
    """Refuses what would be another log once it is written."""
    schema = raw.schema
    if name in {f.name for f in schema.fields} | {f.column for f in schema.fields}:
        raise SchemaError(
            "The schema has a field or a column of this name already.",
            where="field",
            found=name,
            remedy="Choose another name: field=NAME.",
        )
    if schema.keys.per_file:
        raise SchemaError(
            "Requests that each file numbers anew would be others in the files that are written.",
            where="keys.per_file",
            found="true",
            remedy="Make the ids of requests differ between files.",
        )
    if isinstance(raw.rule, FileSplit):
        raise ConfigError(
            "The files that are written have other names than those that the rule divides.",
            where="data.adapter.split",
            found="files",
            remedy="Give the splits apart: data.source={train: …, val: …, test: …}.",
        )


def _vector(given: str | None, names: tuple[str, ...]) -> str:
    """Names the hidden vector that is taken.

    Raises:
        ConfigError: There is none of this name, or no name is given where there are several.
    """
    if given is None and len(names) == 1:
        return names[0]
    if given is None or given not in names:
        raise ConfigError(
            "Name a hidden vector of the signals." if given is None else "The signals hold no such hidden vector.",
            where="vector",
            expected=", ".join(names) or "signals that were scored with hidden=[NAME]; these hold none",
            found=given or "null",
        )
    return given


def _say(written: Written, raw: RawDataset) -> None:
    folder, items = named(str(written.folder)), ""
    if raw.items is not None:
        items = f" data.items={folder}/{ITEMS}" if raw.items.suffix == ITEMS.suffix else " and your data.items"
    apart = ",".join(f"{name}:{folder}/{name}" for name, _ in _groups(raw))
    source = f"{{{apart}}}" if raw.apart else f"{folder}/{LOG}"
    plain_console().print(
        f"{written.with_past:,} of {written.requests:,} requests have a past, of {written.vectors:,} vectors whose "
        f"numbers have the root mean square {written.size:.3g}\n"
        f"Use the log with the split rule of the data and data=parquet data.source={source} "
        f"data.schema={folder}/{SCHEMA_FILE}{items}",
        soft_wrap=True,
    )
