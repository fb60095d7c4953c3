"""The two passes over chunks on an engine: a task for each raw file, or each group of gathered requests.

What tasks find is absorbed in the order of the data, and encoded rows wait in files until it is known where row groups
end: then there is a task for each part file of the dataset. All files are below the folder of the dataset, which every
worker sees.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from distill.data.format import SPLITS, Split
from distill.data.prepare.fit import Fitter
from distill.data.prepare.passes import Encoding, Fitting, Found, Splits, split_rows
from distill.data.prepare.streams import Spills
from distill.data.prepare.writer import Cuts, OnePartWriter, WrittenPart, finish_parts, part_path
from distill.encodings.arrow import Int64
from distill.engines import Advance, Engine
from distill.files import atomic_file, own_folder, remove_leftovers_below


@dataclass(frozen=True)
class PassesOnEngine:
    """Does the passes on an engine.

    Attributes:
        engine: It.
        scratch: Folder for what tasks write for others.
    """

    engine: Engine
    scratch: Path

    def fit(self, fitting: Fitting, advance: Advance) -> tuple[Fitter, Int64]:
        """Returns a fitter that has seen all chunks, and how many requests of each split there are `[3]`."""
        spills, seen = Spills(own_folder(self.scratch)), np.zeros(len(SPLITS), np.int64)
        fitter = fitting.fitter(spills)
        parts = range(fitting.source.num_parts)
        for of_parts, requests in self.engine.map_merged(_fit, _merged, (fitting, self.scratch), parts, advance):
            fitter.absorb(of_parts)
            seen += requests
        spills.fold(self.engine)
        return fitter, seen

    def write(self, encoding: Encoding, root: Path, advance: Advance) -> tuple[Splits, Found]:
        """Writes all splits below `root`; returns their part files, and what was found."""
        spills = Spills(own_folder(self.scratch))
        found, folders = encoding.found(spills), list[Path]()
        parts = range(encoding.source.num_parts)
        for folder, of_part in self.engine.map(_encode, (encoding, self.scratch), parts, advance):
            found.absorb(of_part)
            folders.append(folder)
        spills.fold(self.engine)
        written = self._write_splits(encoding, root, [_EncodedRows.of(folders, name) for name in SPLITS])
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return written, found

    def _write_splits(self, encoding: Encoding, root: Path, splits: Sequence[_EncodedRows]) -> Splits:
        for rows in splits:
            (root / rows.name).mkdir()
        writing = _Writing(splits, root, [encoding.arrow_schema(rows.name) for rows in splits])
        parts = [_Part(number, *part) for number, rows in enumerate(splits) for part in enumerate(rows.part_files())]
        written: dict[int, list[WrittenPart]] = {number: [] for number in range(len(splits))}
        for part, one in zip(parts, self.engine.map(_write, writing, parts, lambda _: None), strict=True):
            written[part.split].append(one)
        for rows in splits:
            remove_leftovers_below(root / rows.name)  # of workers that were lost
        return {rows.name: finish_parts(root / rows.name, written[number]) for number, rows in enumerate(splits)}


def _fit(shared: tuple[Fitting, Path], number: int, advance: Advance) -> tuple[Fitter, Int64]:
    """Fits one part."""
    fitting, scratch = shared
    fitter = fitting.fitter(Spills(own_folder(scratch)))
    return fitter, fitting.add(fitter, fitting.source.chunks_of(number), advance)


def _merged(found: Sequence[tuple[Fitter, Int64]]) -> tuple[Fitter, Int64]:
    """Adds up what was found of parts that follow one another."""
    (fitter, seen), *others = found
    for other, requests in others:
        fitter.absorb(other)
        seen = seen + requests
    return fitter, seen


def _encode(shared: tuple[Encoding, Path], number: int, advance: Advance) -> tuple[Path, Found]:
    """Encodes one part into a file for each split, and the numbers of candidates of its rows beside it."""
    encoding, scratch = shared
    folder = own_folder(scratch)
    found = encoding.found(Spills(own_folder(scratch)))
    with ExitStack() as stack:
        writers: dict[Split, ipc.RecordBatchFileWriter] = {}
        for raw_rows, chunk, batch in encoding.encoded(encoding.source.chunks_of(number), found):
            for name, rows, counts in split_rows(chunk, batch):
                if name not in writers:
                    writers[name] = stack.enter_context(ipc.new_file(str(_rows(folder, name)), batch.schema))
                writers[name].write_batch(rows)
                with _counts(folder, name).open("ab") as file:
                    counts.astype(np.int32).tofile(file)
            advance(raw_rows)
    return folder, found


def _rows(folder: Path, name: Split) -> Path:
    return folder / f"{name}.arrow"


def _counts(folder: Path, name: Split) -> Path:
    return folder / f"{name}.counts"


@dataclass(frozen=True)
class _RowGroup:
    """Rows of a split from one number to another, and the candidates in them."""

    begin: int
    end: int
    candidates: int


@dataclass(frozen=True)
class _EncodedRows:
    """The encoded rows of a split.

    Attributes:
        name: The split.
        folders: Of the parts that have rows of it, in order.
        edges: `[P + 1]` rows between which a part lies.
    """

    name: Split
    folders: tuple[Path, ...]
    edges: Int64

    @classmethod
    def of(cls, folders: Sequence[Path], name: Split) -> _EncodedRows:
        own = tuple(folder for folder in folders if _counts(folder, name).exists())
        sizes = [_counts(folder, name).stat().st_size // np.dtype(np.int32).itemsize for folder in own]
        return cls(name, own, np.cumsum([0, *sizes]))

    def part_files(self) -> list[list[_RowGroup]]:
        """Divides the rows into part files, and these into row groups."""
        cuts, begin, found = Cuts(), 0, [list[_RowGroup]()]
        for folder, start in zip(self.folders, self.edges[:-1].tolist(), strict=True):
            counts = np.fromfile(_counts(folder, self.name), np.int32).astype(np.int64)
            for cut in cuts.add(counts):
                found[-1].append(_RowGroup(begin, start + cut.end, cut.candidates))
                begin = start + cut.end
                if cut.is_last:
                    found.append([])
        if begin < (rows := int(self.edges[-1])):
            found[-1].append(_RowGroup(begin, rows, cuts.held))
        return [part for part in found if part]

    def table(self, begin: int, end: int) -> pa.Table:
        """Reads rows between two numbers of rows."""
        first = int(np.searchsorted(self.edges, begin, side="right")) - 1
        tables = []
        while begin < end:
            start, stop = int(self.edges[first]), min(end, int(self.edges[first + 1]))
            whole = ipc.open_file(pa.memory_map(str(_rows(self.folders[first], self.name)))).read_all()
            tables.append(whole.slice(begin - start, stop - begin))
            begin, first = stop, first + 1
        return pa.concat_tables(tables)


@dataclass(frozen=True)
class _Part:
    """A part file: the number of its split, its own, and its row groups."""

    split: int
    number: int
    groups: Sequence[_RowGroup]


@dataclass(frozen=True)
class _Writing:
    """What the part files share: the rows of each split, the folder of the dataset, and the columns of each split."""

    splits: Sequence[_EncodedRows]
    root: Path
    schemas: Sequence[pa.Schema]


def _write(writing: _Writing, part: _Part, advance: Advance) -> WrittenPart:
    """Writes one part file, whole or not at all."""
    rows, schema = writing.splits[part.split], writing.schemas[part.split]
    name = part_path(rows.name, part.number)
    with atomic_file(writing.root / name) as beside, ExitStack() as stack:
        file = OnePartWriter(beside, schema)
        stack.callback(file.abort)
        for group in part.groups:
            table = rows.table(group.begin, group.end).select(schema.names)
            file.write(table, group.candidates)
            advance(len(table))
        return file.close(name)
